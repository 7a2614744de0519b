/** @file Prompts enhanced by a real HTTP server on loopback: good answers, unfit ones, and every way of failing. */
import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { type ChatAnswer, chatServer, completion, respond } from "../../test/helpers/chat-server.ts";
import { CancelledError, ConfigError } from "../errors.ts";
import { chatEndpoint } from "./chat-endpoint.ts";
import { type EnhanceRequest, enhancePrompt } from "./enhance.ts";
import { EnhanceFailure } from "./failure.ts";

const KEY = "sk-secret-0123456789";
const GOOD =
  "A red fox with a thick winter coat trots across an open field of fresh snow and leaves a neat line of prints " +
  "behind, while pale morning light throws its long blue shadow to the right and the camera follows beside it.";

/** A token for each word, and the closing one. */
const tokens = (limit = 226) => ({ count: (text: string) => text.split(/\s+/).length + 1, limit });

async function enhance(
  answers: readonly ChatAnswer[],
  change: Partial<EnhanceRequest> = {},
  timeoutMs = 20_000,
) {
  const { url, seen } = await chatServer(...answers);
  const endpoint = chatEndpoint(url, "writer", { OPENAI_API_KEY: KEY }, { retryMs: 1, timeoutMs });
  const heard: string[] = [];
  const onRetry = (reason: string) => heard.push(reason);
  const request = { prompt: "a fox in the snow", tokens: tokens(), onRetry, ...change };
  const result = await enhancePrompt(request, endpoint).catch((error: Error) => error);
  return { result, seen, heard };
}

const status =
  (code: number, message: string, headers = {}): ChatAnswer =>
  (response) =>
    respond(response, code, { error: { message } }, headers);

describe("a good answer", () => {
  test("becomes the prompt, with the tokens of both", async () => {
    const { result, seen } = await enhance([GOOD]);
    expect(result).toEqual({
      original: "a fox in the snow",
      prompt: GOOD,
      originalTokens: 6,
      tokens: 43,
      limit: 226,
    });
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ path: "/v1/chat/completions", key: `Bearer ${KEY}` });
    expect(seen[0].body).toMatchObject({ model: "writer", temperature: 0.01, stream: false });
    expect(seen[0].body.messages.map(({ role }) => role)).toEqual([
      "system",
      "user",
      "assistant",
      "user",
      "assistant",
      "user",
      "assistant",
      "user",
    ]);
    expect(seen[0].body.messages.at(-1)?.content).toContain('"a fox in the snow"');
  });

  test("for a picture was asked with the picture, and without cuts", async () => {
    const image = "data:image/jpeg;base64,AAAA";
    const { result, seen } = await enhance([GOOD], { prompt: "", image });
    expect(result).toMatchObject({ prompt: GOOD });
    const [system, user] = seen[0].body.messages;
    expect(system.content).toMatch(/no cuts/);
    expect(user.content).toEqual([
      { type: "text", text: expect.stringContaining("no idea besides the picture") },
      { type: "image_url", image_url: { url: image } },
    ]);
  });

  test.each([
    ["thoughts", `<think>\nlet me see\n</think>\n\n${GOOD}`],
    ["quotation marks", `"${GOOD}"`],
    ["a label", `**Prompt:** ${GOOD}`],
    ["a fence", `\`\`\`text\n${GOOD}\n\`\`\``],
    ["empty lines and doubled spaces", `\n\n ${GOOD.replaceAll(" ", "  ")}\n`],
  ])("is taken out of %s", async (_, text) => {
    expect((await enhance([text])).result).toMatchObject({ prompt: GOOD });
  });

  test("may come in parts", async () => {
    const { result } = await enhance([
      (response) => respond(response, 200, completion([{ type: "text", text: GOOD }])),
    ]);
    expect(result).toMatchObject({ prompt: GOOD });
  });
});

describe("an answer that cannot be used is sent back with what is wrong:", () => {
  test.each([
    [`The video shows ${GOOD}`, {}, 'opens with "The video"'],
    [`Sure! ${GOOD}`, {}, 'opens with "Sure"'],
    [`${GOOD}\n\nI hope that helps.`, {}, "has 2 lines instead of one"],
    [`- ${GOOD}`, {}, "has markup in it"],
    ["A fox.", {}, "has 2 words, which is too short"],
    ["一只红色的狐狸穿过一片开阔的雪地", {}, "is not in English"],
    [`${GOOD} Then the camera cuts to a wolf.`, { image: "data:," }, 'leaves the one shot ("camera cuts")'],
    [GOOD, { tokens: tokens(20) }, "has 43 tokens, more than the 20 tokens that the model reads"],
  ])("%j", async (text, change, fault) => {
    const short = "A red fox trots over fresh snow in pale light while the camera follows it from the side.";
    const fixed = "tokens" in change ? short : GOOD;
    const { result, seen, heard } = await enhance([text, fixed], change);
    expect(result).toMatchObject({ prompt: fixed });
    expect(seen).toHaveLength(2);
    expect(seen[1].body.messages.at(-1)?.content).toContain(fault);
    expect(heard).toEqual([expect.stringContaining(`cannot be used, because it`)]);
    expect(heard[0]).toContain(fault);
  });

  test("and given up after three", async () => {
    const { result, seen } = await enhance([`The video shows ${GOOD}`]);
    expect(seen).toHaveLength(3);
    expect((result as Error).message).toMatch(
      /^the answer of writer at 127.0.0.1:\d+ cannot be used, because it opens with "The video"; gave up after 3 attempts$/,
    );
  });

  test("and in the end cut after a sentence that fits where it is only too long", async () => {
    const sentence = "A red fox trots over fresh snow in pale light.";
    const { result } = await enhance([`${sentence} ${GOOD}`], { tokens: tokens(30) });
    expect(result).toMatchObject({ prompt: sentence, tokens: 11 });
  });
});

describe("an endpoint that fails for a passing reason is asked again:", () => {
  const cut = (response: ServerResponse) => response.destroy();
  const cutInside = (response: ServerResponse) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
    response.write('{"choices": [', () => response.destroy());
  };
  test.each<[string, ChatAnswer, RegExp]>([
    [
      "429",
      status(429, "slow down", { "retry-after": "0" }),
      /has no time for the prompt \(status 429: slow down\)/,
    ],
    ["500", status(500, "oops"), /\(status 500: oops\)/],
    ["503 without words", (response) => response.writeHead(503).end(), /\(status 503\)/],
    ["a cut connection", cut, /connection to 127.0.0.1:\d+ was cut/],
    ["a cut answer", cutInside, /connection to 127.0.0.1:\d+ was cut/],
    [
      "a web page",
      (response) => response.writeHead(200, { "content-type": "text/html" }).end("<html><h1>Hi</h1></html>"),
      /answers with a web page; is the address that of the API/,
    ],
    ["nothing", (response) => response.writeHead(200).end(), /answers with nothing/],
    ["half a JSON", (response) => response.writeHead(200).end('{"choices": ['), /answers with no JSON/],
    ["other JSON", (response) => respond(response, 200, [1, 2]), /no chat completion/],
    ["no choices", (response) => respond(response, 200, { choices: [] }), /an empty list of choices/],
    ["an empty text", "  \n", /an empty text/],
    ["no content", (response) => respond(response, 200, completion(null)), /an empty text/],
    ["half a text", (response) => respond(response, 200, completion("A red", "length")), /ran out of tokens/],
    [
      "a refusal",
      (response) =>
        respond(response, 200, { choices: [{ message: { content: null, refusal: "I\u001b[31m won't" } }] }),
      /does not want to write this prompt: I \[31m won't/,
    ],
  ])("%s", async (_, failing, says) => {
    const { result, seen, heard } = await enhance([failing, GOOD]);
    expect(result).toMatchObject({ prompt: GOOD });
    expect(seen).toHaveLength(2);
    expect(heard).toEqual([expect.stringMatching(says)]);
    const given = await enhance([failing]);
    expect(given.seen).toHaveLength(3);
    expect(given.result).toBeInstanceOf(EnhanceFailure);
    expect((given.result as Error).message).toMatch(says);
    expect((given.result as Error).message).toMatch(/; gave up after 3 attempts$/);
  });
});

describe("an endpoint that refuses is asked once:", () => {
  test.each<[number, string, RegExp]>([
    [
      401,
      `Incorrect API key provided: ${KEY}.`,
      /refuses the key \(status 401: Incorrect API key provided: \[key\]/,
    ],
    [
      403,
      "Incorrect API key sk-sec****6789",
      /refuses the key \(status 403: Incorrect API key \[key\]\); check/,
    ],
    [404, "no model writer", /knows no such address, or no model writer \(status 404: no model writer\)/],
    [400, "images are not supported", /does not take the request \(status 400: images are not supported\)/],
  ])("%i", async (code, message, says) => {
    const { result, seen } = await enhance([status(code, message)]);
    expect(seen).toHaveLength(1);
    expect((result as EnhanceFailure).passes).toBe(false);
    expect((result as Error).message).toMatch(says);
    expect((result as Error).message).not.toContain("secret");
  });

  test("an account without money", async () => {
    const broke: ChatAnswer = (response) =>
      respond(response, 429, { error: { message: "You exceeded your quota", code: "insufficient_quota" } });
    const { result, seen } = await enhance([broke]);
    expect(seen).toHaveLength(1);
    expect((result as Error).message).toMatch(
      /nothing left to spend \(status 429: You exceeded your quota\)/,
    );
  });

  test("a redirect, which would take the key elsewhere", async () => {
    const elsewhere = await chatServer(GOOD);
    const { result } = await enhance([
      (response) => response.writeHead(307, { location: `${elsewhere.url}/chat/completions` }).end(),
    ]);
    expect((result as Error).message).toMatch(/redirects elsewhere \(status 307\)/);
    expect(elsewhere.seen).toEqual([]);
  });
});

test("an endpoint that does not take the way of sampling is asked without it", async () => {
  const { result, seen } = await enhance([
    status(400, "Unsupported parameter: 'max_tokens' is not supported with this model."),
    GOOD,
  ]);
  expect(result).toMatchObject({ prompt: GOOD });
  expect(seen.map(({ body }) => body.temperature)).toEqual([0.01, undefined]);
});

describe("patience ends", () => {
  test("with an endpoint that never answers", async () => {
    const { result } = await enhance([() => {}], {}, 40);
    expect((result as Error).message).toMatch(
      /did not finish its answer within 0.04 s; gave up after 3 attempts/,
    );
  });

  test("with an answer that drips for ever", async () => {
    const drip = (response: ServerResponse) => {
      response.writeHead(200, { "content-type": "application/json" });
      const timer = setInterval(() => response.write(" "), 5);
      response.on("close", () => clearInterval(timer));
    };
    const { result } = await enhance([drip], {}, 60);
    expect((result as EnhanceFailure).kind).toBe("slow");
  });

  test("with an answer that grows without end", async () => {
    const flood = (response: ServerResponse) => {
      response.writeHead(200, { "content-type": "application/json" });
      const more = () => {
        if (!response.destroyed) response.write(" ".repeat(1 << 16), more);
      };
      more();
    };
    const { result } = await enhance([flood]);
    expect((result as Error).message).toMatch(/answers with more than 1 MiB/);
  });

  test("when the caller stops, inside a request and between two", async () => {
    const inside = new AbortController();
    const waiting = await enhance([() => inside.abort()], { signal: inside.signal });
    expect(waiting.result).toBeInstanceOf(CancelledError);
    const between = new AbortController();
    const later = status(503, "later", { "retry-after": "30" });
    const onRetry = () => between.abort();
    expect((await enhance([later], { signal: between.signal, onRetry })).result).toBeInstanceOf(
      CancelledError,
    );
    const before = await enhance([GOOD], { signal: AbortSignal.abort() });
    expect(before.result).toBeInstanceOf(CancelledError);
    expect(before.seen).toEqual([]);
  });
});

test("nobody at the address is a sentence", async () => {
  const endpoint = chatEndpoint("http://127.0.0.1:9/v1", "writer", {}, { retryMs: 1 });
  const enhanced = enhancePrompt({ prompt: "x", tokens: tokens() }, endpoint);
  await expect(enhanced).rejects.toThrow(
    /^cannot reach 127.0.0.1:9 \(.+\); is it running, .* gave up after 3/,
  );
});

describe("settings", () => {
  test("come from the environment where the command line names none", () => {
    const env = { OPENAI_BASE_URL: "https://api.example/v1/", OPENAI_MODEL: "m", OPENAI_API_KEY: " k\n" };
    expect(chatEndpoint("on", undefined, env)).toMatchObject({ model: "m", key: "k", attempts: 3 });
    expect(chatEndpoint("on", undefined, env).url.href).toBe("https://api.example/v1/chat/completions");
    const whole = "http://localhost:1/chat/completions";
    expect(chatEndpoint(whole, "n", env)).toMatchObject({ model: "n", url: new URL(whole) });
  });

  test.each<[string, Record<string, string>, RegExp]>([
    ["on", { OPENAI_MODEL: "m" }, /no endpoint is named; set OPENAI_BASE_URL/],
    ["http://h/v1", {}, /no model is named for h; give --enhance-model/],
    ["localhost:11434/v1", { OPENAI_MODEL: "m" }, /"rules", "on" or an address that begins with http/],
    ["https://u:secret@h/v1", { OPENAI_MODEL: "m" }, /at h holds a name or password/],
    ["ftp://u:secret@h/v1", { OPENAI_MODEL: "m" }, /got "ftp:\/\/\.\.\.@h\/v1"/],
    [
      "http://h",
      { OPENAI_MODEL: "m", OPENAI_API_KEY: "secret\nsecret" },
      /OPENAI_API_KEY holds spaces, line breaks/,
    ],
  ])("%s %j are refused without the secrets", (address, env, says) => {
    const made = () => chatEndpoint(address, undefined, env);
    expect(made).toThrow(ConfigError);
    expect(made).toThrow(says);
    expect(made).not.toThrow(/secret/);
  });
});

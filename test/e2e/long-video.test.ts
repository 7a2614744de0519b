/** @file Long videos and enhanced prompts on the command line. */
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { readRecipe } from "../../src/media/recipe.ts";
import { chatServer, respond } from "../helpers/chat-server.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const KEY = "sk-secret-0123456789";
const size = ["--width", "64", "--height", "48", "--steps", "1", "--seed", "1"];

async function generate(checkpoint: string, prompt: string, args: readonly string[]) {
  const output = join(temporaryFolder(), "clip.gif");
  const model = ["--model", recorded(checkpoint), ...size];
  return { output, ended: await cogvideox(["generate", prompt, ...model, "-o", output, "--json", ...args]) };
}

async function picture(): Promise<string> {
  const file = join(temporaryFolder(), "image.png");
  await sharp({ create: { width: 64, height: 48, channels: 3, background: "teal" } }).toFile(file);
  return file;
}

function withKey(url: string): void {
  vi.stubEnv("OPENAI_API_KEY", KEY);
  vi.stubEnv("OPENAI_BASE_URL", url);
  vi.stubEnv("OPENAI_MODEL", "writer");
  onTestFinished(() => void vi.unstubAllEnvs());
}

test("windows, reused noise and RIFLEx make a clip and its recipe", async () => {
  const args = ["--frames", "17", "--window", "9", "--overlap", "4", "--free-noise", "--riflex", "auto"];
  const { ended, output } = await generate("t2v-rope", "A red circle.", args);
  expect(ended).toMatchObject({ status: 0 });
  expect(jsonLines(ended).findLast(({ event }) => event === "frames")).toMatchObject({ total: 17 });
  expect(await readRecipe(output)).toMatchObject({
    longVideo: { riflex: "auto", window: { frames: 9, overlap: 4 }, freeNoise: true },
  });
});

test("a chain makes one file of several clips", async () => {
  const args = ["--image", await picture(), "--chain", "2", "--frames", "9"];
  const { ended, output } = await generate("i2v-learned", "A red circle.", args);
  expect(ended).toMatchObject({ status: 0 });
  expect(jsonLines(ended).findLast(({ event }) => event === "frames")).toMatchObject({
    start: 9,
    count: 8,
    total: 17,
  });
  expect(await readRecipe(output)).toMatchObject({ frames: 17, chain: 2 });
});

describe("what does not fit is refused:", () => {
  test.each<[string[], RegExp]>([
    [["--overlap", "4"], /--overlap needs --window/],
    [["--free-noise"], /--free-noise needs --window/],
    [["--window", "10"], /a window must have 8k \+ 1 frames, at least 9, got 10/],
    [["--riflex", "fast"], /--riflex must be auto or the number of a frequency/],
    [["--riflex", "7"], /temporal frequency 1 to 2 of this model, got 7/],
    [["--chain", "2"], /--chain needs --image/],
    [
      ["--chain", "2", "--image", "x.png", "--save-latents", "l.safetensors"],
      /--save-latents is for one clip/,
    ],
    [["--enhance-model", "m"], /--enhance-model needs --enhance/],
    [["--enhance", "somewhere"], /"rules", "on" or an address/],
  ])("%j", async (args, says) => {
    const { ended } = await generate("t2v-rope", "A red circle.", args);
    expect(ended.stderr).toMatch(says);
    expect(ended.status).toBe(2);
  });
});

describe("a prompt is enhanced", () => {
  test("by rules, within the tokens of the model, and shown before and after", async () => {
    const { ended, output } = await generate("t2v-rope", "a cat", ["--frames", "9", "--enhance", "rules"]);
    expect(ended).toMatchObject({ status: 0 });
    const [event] = jsonLines(ended);
    expect(event).toMatchObject({ event: "enhanced", original: "a cat", limit: 24 });
    expect(event.tokens as number).toBeLessThanOrEqual(24);
    expect(ended.stderr).toMatch(/^prompt \(\d+ of 24 tokens\): a cat$/m);
    expect(ended.stderr).toMatch(/^enhanced \(\d+ of 24 tokens\): A cat/m);
    expect(await readRecipe(output)).toMatchObject({ prompt: event.prompt });
  });

  test("by an endpoint that sees the picture", async () => {
    const text = "A teal wall slowly brightens in the sun.";
    const { url, seen } = await chatServer(text);
    withKey(url);
    const args = ["--frames", "9", "--image", await picture(), "--enhance", "on"];
    const { ended, output } = await generate("i2v-learned", "", args);
    expect(ended).toMatchObject({ status: 0 });
    expect(seen[0].key).toBe(`Bearer ${KEY}`);
    expect(JSON.stringify(seen[0].body.messages)).toContain("data:image/jpeg;base64,/9j/");
    expect(await readRecipe(output)).toMatchObject({ prompt: text });
    expect(ended.stdout + ended.stderr).not.toContain(KEY);
  });

  test("by rules where the endpoint breaks, and not at all where it refuses", async () => {
    const broken = await chatServer((response) => respond(response, 503, {}, { "retry-after": "0" }));
    withKey(broken.url);
    const { ended } = await generate("t2v-rope", "a cat", ["--frames", "9", "--enhance", "on"]);
    expect(ended).toMatchObject({ status: 0 });
    expect(ended.stderr).toMatch(
      /warning: .* no time .* gave up after 3 attempts; the prompt is enhanced by rules/,
    );
    const refusing = await chatServer((response) =>
      respond(response, 401, { error: { message: `bad ${KEY}` } }),
    );
    withKey(refusing.url);
    const refused = await generate("t2v-rope", "a cat", ["--frames", "9", "--enhance", "on"]);
    expect(refused.ended.status).toBe(2);
    expect(refused.ended.stderr).toMatch(/refuses the key \(status 401: bad \[key\]\)/);
    expect(refused.ended.stderr).not.toContain(KEY);
  });
});

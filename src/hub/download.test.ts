/** @file Downloads against hubs on loopback that serve well, and that do everything wrong. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import {
  commitA,
  commitB,
  cutAfter,
  etagOf,
  type Files,
  gitId,
  type HubServer,
  hubServer,
  type Misbehaviour,
  sendBytes,
  sendJson,
  settingsFor,
} from "../../test/helpers/hub-server.ts";
import { CancelledError, ConfigError, WeightsError } from "../errors.ts";
import { downloadModel } from "./download.ts";
import type { DownloadEvent } from "./download-events.ts";
import type { HubSettings } from "./settings.ts";

const weights = "transformer/diffusion_pytorch_model.safetensors";
const shards = [1, 2].map((n) => `text_encoder/model-0000${n}-of-00002.safetensors`);

/** What a checkpoint needs, with content that only checksums look at. */
const checkpoint: Files = {
  "model_index.json": json({
    _class_name: "CogVideoXPipeline",
    _diffusers_version: "0.30.0",
    scheduler: ["diffusers", "CogVideoXDDIMScheduler"],
    text_encoder: ["transformers", "T5EncoderModel"],
    tokenizer: ["transformers", "T5Tokenizer"],
    transformer: ["diffusers", "CogVideoXTransformer3DModel"],
    vae: ["diffusers", "AutoencoderKLCogVideoX"],
    safety_checker: [null, null],
  }),
  "scheduler/scheduler_config.json": json({ a: 1 }),
  "text_encoder/config.json": json({ b: 1 }),
  "text_encoder/model.safetensors.index.json": json({
    weight_map: { one: "model-00001-of-00002.safetensors", two: "model-00002-of-00002.safetensors" },
  }),
  [shards[0]]: noise(70_000, 1),
  [shards[1]]: noise(50_000, 2),
  "tokenizer/spiece.model": noise(5_000, 3),
  "tokenizer/tokenizer_config.json": json({ c: 1 }),
  "tokenizer/added_tokens.json": json({}),
  "transformer/config.json": json({ d: 1 }),
  [weights]: noise(400_000, 4),
  "vae/config.json": json({ e: 1 }),
  "vae/diffusion_pytorch_model.safetensors": noise(30_000, 5),
};
const licence: Files = { LICENSE: Buffer.from("The Licence\n") };
/** What stands beside it on the hub and is of no use here. */
const others: Files = {
  ".gitattributes": Buffer.from("x"),
  "README.md": Buffer.from("# Model"),
  "transformer/diffusion_pytorch_model.fp16.safetensors": noise(100, 6),
  "text_encoder/pytorch_model.bin": noise(100, 7),
  "text_encoder/flax_model.msgpack": noise(100, 8),
  "vae/diffusion_pytorch_model.bin": noise(100, 9),
  "extra/config.json": json({}),
};
const repository: Files = { ...checkpoint, ...licence, ...others };

describe("a download", () => {
  test("brings what the checkpoint needs and nothing else, named by entity tags, through links", async () => {
    const { hub, cache, download } = await serving();
    const { folder, commit, downloadedBytes } = await download();
    expect(commit).toBe(commitA);
    expect(folder).toBe(join(cache, "models--owner--model/snapshots", commitA));
    const wanted = { ...checkpoint, ...licence };
    expect(contentOf(folder)).toEqual(hexOf(wanted));
    expect(readlinkSync(join(folder, weights))).toBe(
      join("../../../blobs", etagOf(weights, repository[weights])),
    );
    expect(readFileSync(join(cache, "models--owner--model/refs/main"), "utf8")).toBe(commitA);
    expect(readdirSync(join(cache, "models--owner--model/blobs")).sort()).toEqual(
      Object.entries(wanted)
        .map(([path, bytes]) => etagOf(path, bytes))
        .sort(),
    );
    expect(downloadedBytes).toBe(Object.values(wanted).reduce((sum, { length }) => sum + length, 0));
    expect(hub.seen.filter(({ method }) => method === "GET").length).toBeGreaterThan(
      Object.keys(wanted).length,
    );
  });

  test("asks only for the file list when everything is there, and for nothing at a commit", async () => {
    const { hub, download } = await serving();
    await download();
    hub.seen.length = 0;
    expect(await download()).toMatchObject({ downloadedBytes: 0 });
    expect(hub.seen).toHaveLength(1);
    expect(await download({}, `owner/model@${commitA}`)).toMatchObject({ commit: commitA });
    expect(hub.seen).toHaveLength(1);
  });

  test("follows a branch to its new commit and downloads only what changed", async () => {
    const { hub, cache, download } = await serving();
    await download();
    hub.revisions.main = commitB;
    hub.commits[commitB] = { ...repository, "vae/config.json": json({ e: 2 }) };
    hub.seen.length = 0;
    const { commit, folder } = await download();
    expect(commit).toBe(commitB);
    expect(JSON.parse(readFileSync(join(folder, "vae/config.json"), "utf8"))).toEqual({ e: 2 });
    expect(hub.seen.filter(({ method, path }) => method === "GET" && !path.startsWith("/api/"))).toHaveLength(
      1,
    );
    expect(readFileSync(join(cache, "models--owner--model/refs/main"), "utf8")).toBe(commitB);
    expect(existsSync(join(cache, "models--owner--model/snapshots", commitA, weights))).toBe(true);
  });

  test("takes tags and references with slashes", async () => {
    const { hub, cache, download } = await serving();
    hub.revisions["refs/pr/3"] = commitA;
    await download({}, "owner/model@refs/pr/3");
    expect(readFileSync(join(cache, "models--owner--model/refs/refs/pr/3"), "utf8")).toBe(commitA);
  });

  test("says the licence once, then the plan, the progress to its end, and every file", async () => {
    const { download } = await serving();
    const events: DownloadEvent[] = [];
    await download({}, "owner/model", (event) => events.push(event));
    expect(events.find(({ kind }) => kind === "licence")).toMatchObject({
      licence: { name: "mit" },
      text: "The Licence\n",
    });
    expect(events.find(({ kind }) => kind === "plan")).toMatchObject({ files: 4, bytes: 550_000 });
    expect(events.filter(({ kind }) => kind === "progress").at(-1)).toMatchObject({
      done: 550_000,
      total: 550_000,
    });
    expect(events.filter(({ kind }) => kind === "file")).toHaveLength(Object.keys(checkpoint).length + 1);
    const again: DownloadEvent[] = [];
    await download({}, "owner/model", (event) => again.push(event));
    expect(again).toEqual([]);
  });

  test("keeps at most four requests for content in flight", async () => {
    const many = Object.fromEntries(
      Array.from({ length: 12 }, (_, i) => [
        `vae/diffusion_pytorch_model-${shardName(i, 12)}`,
        noise(1000, i),
      ]),
    );
    const map = Object.fromEntries(Object.keys(many).map((path, i) => [`t${i}`, path.slice(4)]));
    const index = { "vae/diffusion_pytorch_model.safetensors.index.json": json({ weight_map: map }) };
    const { hub, download } = await serving({ ...repository, ...many, ...index });
    let open = 0;
    let most = 0;
    hub.misbehave = (request, response, { host }) => {
      if (host !== "cdn") return false;
      most = Math.max(most, ++open);
      response.on("close", () => open--);
      setTimeout(() => sendBytes(request, response, contentAt(hub, request.url!)), 20);
      return true;
    };
    const { folder } = await download();
    expect(most).toBe(4);
    expect(Object.keys(contentOf(folder))).toEqual(expect.arrayContaining(Object.keys(many)));
  });

  test("sends the token to the hub and never to the host that it redirects to", async () => {
    const { hub, download } = await serving();
    await download({ token: "hf_secret" });
    const tokens = (host: string) =>
      new Set(hub.seen.filter((seen) => seen.host === host).map(({ token }) => token));
    expect(tokens("hub")).toEqual(new Set(["Bearer hf_secret"]));
    expect(tokens("cdn")).toEqual(new Set([undefined]));
  });

  test("follows a renamed model, and keeps it under the name that was asked for", async () => {
    const { hub, cache, download } = await serving();
    hub.misbehave = (_, response, { host, path }) => {
      if (host !== "hub" || !path.includes("old/name")) return false;
      response.writeHead(307, { location: path.replace("old/name", "owner/model") }).end();
      return true;
    };
    const { folder } = await download({}, "old/name");
    expect(folder).toBe(join(cache, "models--old--name/snapshots", commitA));
    expect(existsSync(join(folder, weights))).toBe(true);
  });
});

describe("a connection that is cut", () => {
  test("goes on where it stopped", async () => {
    const { hub, download } = await serving();
    let cuts = 0;
    hub.misbehave = (request, response) => {
      if (!request.url!.includes(weights) || !isContent(hub, request) || cuts++ > 1) return false;
      const rest = repository[weights].subarray(rangeOf(request));
      if (request.headers.range) {
        response.setHeader("content-range", `bytes ${rangeOf(request)}-399999/400000`);
        cutAfter(response, rest, 100_000, 206);
      } else cutAfter(response, rest, 100_000);
      return true;
    };
    const { folder } = await download();
    expect(contentOf(folder)).toEqual(hexOf({ ...checkpoint, ...licence }));
    const starts = hub.seen
      .filter(({ host, path }) => host === "cdn" && path.includes(weights))
      .map(({ range }) => range);
    expect(starts).toHaveLength(3);
    expect(starts[0]).toBeUndefined();
    for (const range of starts.slice(1)) expect(range).toMatch(/^bytes=[1-9]\d*-$/);
  });

  test("that never holds leaves a part, which the next download continues and Python would too", async () => {
    const { hub, cache, download } = await serving();
    const kept: Buffer = repository[weights].subarray(0, 123_456);
    let first = true;
    hub.misbehave = (request, response) => {
      if (!isContent(hub, request) || !request.url!.includes(weights)) return false;
      if (first) cutAfter(response, repository[weights], kept.length);
      else response.destroy();
      first = false;
      return true;
    };
    await expect(download()).rejects.toThrow(
      /transformer\/diffusion_pytorch_model\.safetensors of owner\/model .*gave up after 4 attempts/,
    );
    const partial = join(
      cache,
      "models--owner--model/blobs",
      `${etagOf(weights, repository[weights])}.incomplete`,
    );
    const bytes = readFileSync(partial);
    expect(bytes.equals(repository[weights].subarray(0, bytes.length))).toBe(true);
    expect(existsSync(join(cache, "models--owner--model/snapshots"))).toBe(false);
    expect(existsSync(join(cache, "models--owner--model/refs"))).toBe(false);
    writeFileSync(partial, kept);
    hub.misbehave = () => false;
    hub.seen.length = 0;
    const { folder } = await download();
    expect(contentOf(folder)).toEqual(hexOf({ ...checkpoint, ...licence }));
    expect(hub.seen.find(({ host, path }) => host === "cdn" && path.includes(weights))?.range).toBe(
      "bytes=123456-",
    );
    expect(existsSync(partial)).toBe(false);
  });

  test("starts again where the server ignores ranges", async () => {
    const { hub, download } = await serving();
    let cuts = 0;
    hub.misbehave = (request, response) => {
      if (!isContent(hub, request) || !request.url!.includes(weights)) return false;
      if (cuts++ === 0) cutAfter(response, repository[weights], 100_000);
      else response.writeHead(200, { "content-length": 400_000 }).end(repository[weights]);
      return true;
    };
    expect(contentOf((await download()).folder)).toEqual(hexOf({ ...checkpoint, ...licence }));
  });

  test("counts as cut when it is silent", async () => {
    const { hub, download } = await serving();
    let silences = 0;
    hub.misbehave = (request, response) => {
      if (!isContent(hub, request) || !request.url!.includes(weights) || silences++ > 0) return false;
      response.writeHead(200, { "content-length": 400_000 }).write(repository[weights].subarray(0, 1000));
      return true;
    };
    expect(contentOf((await download({ silenceMs: 300 })).folder)).toEqual(
      hexOf({ ...checkpoint, ...licence }),
    );
  });
});

test("a part that belongs to something else is noticed and fetched again", async () => {
  const { cache, download } = await serving();
  const blobs = join(cache, "models--owner--model/blobs");
  mkdirSync(blobs, { recursive: true });
  writeFileSync(join(blobs, `${etagOf(weights, repository[weights])}.incomplete`), noise(200_000, 77));
  writeFileSync(join(blobs, `${etagOf(shards[0], repository[shards[0]])}.incomplete`), noise(70_000, 78));
  writeFileSync(join(blobs, `${etagOf(shards[1], repository[shards[1]])}.incomplete`), noise(90_000, 79));
  expect(contentOf((await download()).folder)).toEqual(hexOf({ ...checkpoint, ...licence }));
});

test("a hub that limits the rate or is down for a while is asked again", async () => {
  const { hub, download } = await serving();
  const refusals = new Map<string, number>();
  hub.misbehave = (request, response) => {
    const key = `${request.method} ${request.url}`;
    const n = refusals.get(key) ?? 0;
    refusals.set(key, n + 1);
    if (n >= 1) return false;
    const isList = key.includes("/api/");
    response.writeHead(isList ? 429 : 503, isList ? { "retry-after": "0" } : {}).end("busy");
    return true;
  };
  const reasons: string[] = [];
  const { folder } = await download(
    {},
    "owner/model",
    (event) => event.kind === "retry" && reasons.push(event.reason),
  );
  expect(contentOf(folder)).toEqual(hexOf({ ...checkpoint, ...licence }));
  expect(reasons.join("\n")).toMatch(/limits the rate of requests .*\(status 429\)[\s\S]*\(status 503\)/);
});

describe("a bad answer is told in a sentence and leaves nothing that looks whole", () => {
  const content =
    (path: string, answer: (hub: HubServer) => Misbehaviour) =>
    (hub: HubServer): Misbehaviour => {
      return (request, response, seen) =>
        isContent(hub, request) && request.url!.includes(path) && answer(hub)(request, response, seen);
    };
  const head =
    (path: string, headers: Record<string, string>, status = 200) =>
    (): Misbehaviour => {
      return (request, response) => {
        if (request.method !== "HEAD" || !request.url!.includes(path)) return false;
        response
          .writeHead(status, { "x-repo-commit": commitA, etag: '"x"', "content-length": 1, ...headers })
          .end();
        return true;
      };
    };
  const list =
    (change: (listing: Record<string, unknown>) => unknown) =>
    (hub: HubServer): Misbehaviour => {
      return (request, response) => {
        if (!request.url!.startsWith("/api/")) return false;
        const siblings = Object.entries(hub.commits[commitA]).map(([rfilename, bytes]) => ({
          rfilename,
          size: bytes.length,
        }));
        sendJson(response, change({ sha: commitA, siblings }));
        return true;
      };
    };
  const api =
    (status: number, headers: Record<string, string> = {}, body = "") =>
    (): Misbehaviour => {
      return (request, response) => {
        if (!request.url!.startsWith("/api/")) return false;
        response.writeHead(status, headers).end(body);
        return true;
      };
    };
  const send =
    (status: number, headers: Record<string, string | number>, body: Buffer) => (): Misbehaviour => {
      return (_, response) => {
        response.writeHead(status, headers).end(body);
        return true;
      };
    };
  const damaged = Buffer.from(repository[weights]).fill(0, 1000, 1010);
  const cases: readonly (readonly [what: string, misbehaviour: (hub: HubServer) => Misbehaviour, RegExp])[] =
    [
      [
        "a checksum that is wrong",
        content(weights, send(200, {}, damaged)),
        /arrived damaged: its checksum is [0-9a-f]{64} where [0-9a-f]{64} is needed; nothing of it was kept/,
      ],
      [
        "small files that are damaged",
        (hub) =>
          (request, response, { method }) => {
            if (method !== "GET" || !request.url!.endsWith("vae/config.json")) return false;
            sendBytes(request, response, Buffer.from(hub.commits[commitA]["vae/config.json"]).fill("x"));
            return true;
          },
        /vae\/config\.json of owner\/model arrived damaged/,
      ],
      [
        "a length that is not the announced one",
        content(weights, send(200, { "content-length": 5 }, Buffer.alloc(5))),
        /announced 400000 bytes .* and sends 5/,
      ],
      [
        "more bytes than announced",
        content(weights, send(200, { "transfer-encoding": "chunked" }, Buffer.alloc(500_000))),
        /sent more of .* than the 400000 bytes it announced/,
      ],
      [
        "fewer bytes than announced",
        content(weights, send(200, { "transfer-encoding": "chunked" }, Buffer.alloc(5))),
        /stopped after 5 of 400000 bytes; gave up after 4 attempts/,
      ],
      [
        "a page instead of weights",
        content(weights, send(200, { "content-type": "text/html" }, Buffer.from("<html>"))),
        /a web page came instead of transformer.*; does the network ask for a login/,
      ],
      [
        "another range than asked",
        content(weights, send(206, { "content-range": "bytes 7-399999/400000" }, Buffer.alloc(10))),
        /sent bytes 7-399999\/400000 of .* where byte 0 was asked for/,
      ],
      [
        "a size that contradicts the list",
        head("vae/config.json", { "content-length": "999" }),
        /lists vae\/config\.json of owner\/model with \d+ bytes and serves it with 999/,
      ],
      [
        "a checksum that contradicts the list",
        head(weights, { "x-linked-etag": `"${"0".repeat(64)}"`, "x-linked-size": "400000" }),
        /with the checksum [0-9a-f]{64} and serves it with 0{64}/,
      ],
      [
        "an entity tag that is a path",
        head("vae/config.json", { etag: '"../../escape"' }),
        /came with the ETag .*escape.*; is HF_ENDPOINT a hub/,
      ],
      [
        "another commit than asked",
        head("vae/config.json", { "x-repo-commit": commitB }),
        /came from the commit b+ where a+ was asked for/,
      ],
      [
        "no commit",
        head("vae/config.json", { "x-repo-commit": "" }),
        /40 hexadecimal digits are needed; is HF_ENDPOINT a hub/,
      ],
      [
        "a redirect that turns in circles",
        () =>
          (_, response, { path }) => {
            response.writeHead(302, { location: path }).end();
            return true;
          },
        /redirected more than 10 times/,
      ],
      [
        "a redirect to a file",
        () => (_, response) => {
          response.writeHead(302, { location: "file:///etc/passwd" }).end();
          return true;
        },
        /redirected to "file:\/\/\/etc\/passwd", which is no address that may be followed/,
      ],
      [
        "a web page instead of a list",
        api(200, { "content-type": "text/html" }, "<html>Log in</html>"),
        /is a web page \(text\/html\) where JSON is needed; is HF_ENDPOINT a hub, and the network open/,
      ],
      [
        "a list that is cut JSON",
        api(200, { "content-type": "application/json" }, '{"sha": '),
        /file list of model owner\/model is not JSON/,
      ],
      [
        "a list that is something else",
        api(200, { "content-type": "application/json" }, "[]"),
        /has no array "siblings"/,
      ],
      [
        "a list with a commit that is a path",
        list((all) => ({ ...all, sha: "../../x" })),
        /the commit "\.\.\/\.\.\/x" where 40 hexadecimal/,
      ],
      [
        "a list with .. in a path",
        list((all) => ({ ...all, siblings: [{ rfilename: "vae/../../../x" }] })),
        /names the file "vae\/\.\.\/\.\.\/\.\.\/x", which leads out/,
      ],
      [
        "a list with an absolute path",
        list((all) => ({ ...all, siblings: [{ rfilename: "/etc/passwd" }] })),
        /names the file "\/etc\/passwd", which leads out/,
      ],
      [
        "a list with a drive",
        list((all) => ({ ...all, siblings: [{ rfilename: "c:\\x" }] })),
        /which leads out/,
      ],
      [
        "a repository that is no pipeline",
        list((all) => ({ ...all, siblings: [{ rfilename: "x.bin" }] })),
        /has no model_index\.json, so it is no checkpoint/,
      ],
      [
        "401",
        api(401),
        /refuses model owner\/model \(status 401\): there is no such public model; check the name, or set HF_TOKEN/,
      ],
      [
        "403",
        api(403),
        /its owner must grant access; accept the conditions at http.*owner\/model, and set HF_TOKEN/,
      ],
      ["404", api(404, { "x-error-code": "RevisionNotFound" }), /the model exists, but not this revision/],
      [
        "500 for ever",
        api(500),
        /could not answer for model owner\/model \(status 500\); gave up after 4 attempts/,
      ],
      ["418", api(418), /answered with status 418 .* which no hub does/],
      [
        "a file that is listed and not there",
        (hub) =>
          (request, response, { path }) => {
            if (request.method !== "HEAD" || !path.includes("vae/config.json")) return false;
            response.writeHead(404, { "x-error-code": "EntryNotFound" }).end(hub.cdn);
            return true;
          },
        /there is no vae\/config\.json of owner\/model .* but not this file/,
      ],
    ];

  test.each(cases)("%s", async (_, misbehaviour, message) => {
    const { hub, cache, download } = await serving();
    hub.misbehave = misbehaviour(hub);
    const error = await download().then(
      () => null,
      (thrown: Error) => thrown,
    );
    expect(error).toSatisfy((thrown) => thrown instanceof WeightsError || thrown instanceof ConfigError);
    expect(error!.message).toMatch(message);
    const repo = join(cache, "models--owner--model");
    expect(existsSync(join(repo, "snapshots"))).toBe(false);
    expect(existsSync(join(repo, "refs"))).toBe(false);
    expect(existsSync(join(cache, "..", "escape"))).toBe(false);
    expectWholeBlobs(repo);
  });

  test.each([
    [
      "an index that names a file elsewhere",
      { weight_map: { a: "../x.safetensors" } },
      /names "\.\.\/x\.safetensors" where a \.safetensors file of its folder/,
    ],
    [
      "an index that names a file that is not listed",
      { weight_map: { a: "y.safetensors" } },
      /lacks the file text_encoder\/y\.safetensors, which its index/,
    ],
    ["an index without weights", { weight_map: {} }, /names no weights/],
  ])("%s", async (_, index, message) => {
    const { download } = await serving({
      ...repository,
      "text_encoder/model.safetensors.index.json": json(index),
    });
    await expect(download()).rejects.toThrow(message);
  });

  test("a component that has pickles only", async () => {
    const { [weights]: _, ...rest } = repository;
    const { download } = await serving({ ...rest, "transformer/diffusion_pytorch_model.bin": noise(10, 1) });
    await expect(download()).rejects.toThrow(
      /has only weights that are not read because they can run code \(diffusion_pytorch_model\.bin\) for the component transformer/,
    );
  });

  test("more bytes than the disk has room for, before any of them", async () => {
    const { hub, download } = await serving();
    const huge = 4e14;
    hub.misbehave = (request, response) => {
      if (request.url!.startsWith("/api/")) {
        const siblings = Object.keys(repository).map((rfilename) => ({ rfilename }));
        sendJson(response, { sha: commitA, siblings });
        return true;
      }
      if (request.method !== "HEAD" || !request.url!.includes(weights)) return false;
      response.writeHead(302, {
        location: `${hub.cdn}/x`,
        "x-repo-commit": commitA,
        "x-linked-etag": `"${"0".repeat(64)}"`,
        "x-linked-size": huge,
      });
      response.end();
      return true;
    };
    await expect(download()).rejects.toThrow(
      /owner\/model needs 4000\d\d GB more in .* and the disk has .* GB free; free space, or set HF_HUB_CACHE/,
    );
    expect(hub.seen.filter(({ host }) => host === "cdn")).toEqual([]);
  });
});

test("what is in the cache and has another size is neither taken nor overwritten", async () => {
  const { cache, download } = await serving();
  const blob = join(cache, "models--owner--model/blobs", etagOf(weights, repository[weights]));
  mkdirSync(dirname(blob), { recursive: true });
  writeFileSync(blob, "mine");
  await expect(download()).rejects.toThrow(
    /the cache holds 4 bytes of transformer.* where the hub has 400000; remove .* and try again/,
  );
  expect(readFileSync(blob, "utf8")).toBe("mine");
});

test("stopping keeps what has come, for the next time, and says so as a cancellation", async () => {
  const { hub, cache, download } = await serving();
  const stop = new AbortController();
  hub.misbehave = (request, response) => {
    if (!isContent(hub, request) || !request.url!.includes(weights)) return false;
    response.writeHead(200, { "content-length": 400_000 }).write(repository[weights].subarray(0, 200_000));
    return true;
  };
  const events = (event: DownloadEvent) => event.kind === "progress" && event.done > 0 && stop.abort();
  await expect(download({}, "owner/model", events, stop.signal)).rejects.toThrow(CancelledError);
  expect(existsSync(join(cache, "models--owner--model/snapshots"))).toBe(false);
  hub.misbehave = () => false;
  expect(contentOf((await download()).folder)).toEqual(hexOf({ ...checkpoint, ...licence }));
});

test("two downloads at the same time make one copy and both end well", async () => {
  const { hub, cache, download } = await serving();
  const [a, b] = await Promise.all([download(), download()]);
  expect(a.folder).toBe(b.folder);
  expect(contentOf(a.folder)).toEqual(hexOf({ ...checkpoint, ...licence }));
  expectWholeBlobs(join(cache, "models--owner--model"));
  expect(hub.seen.filter(({ host, method }) => host === "cdn" && method === "GET")).toHaveLength(4);
});

describe("without a hub", () => {
  test("a complete copy is used, with a warning, and at a commit without one", async () => {
    const { hub, download } = await serving();
    await download();
    await hub.close();
    const events: DownloadEvent[] = [];
    expect(await download({}, "owner/model", (event) => events.push(event))).toMatchObject({
      commit: commitA,
    });
    expect(events.slice(-1)).toMatchObject([
      { kind: "cached", reason: expect.stringMatching(/cannot reach 127\.0\.0\.1:\d+ .*ECONNREFUSED/) },
    ]);
    expect(await download({}, `owner/model@${commitA}`)).toMatchObject({ commit: commitA });
  });

  test("and without a copy, the network is to blame", async () => {
    const { hub, download } = await serving();
    await hub.close();
    await expect(download()).rejects.toThrow(
      /cannot reach 127.* for model owner\/model .*check the network and HF_ENDPOINT/,
    );
  });

  test("offline asks nobody, and says which file is missing", async () => {
    const { hub, download } = await serving();
    const offline = { offline: true };
    await expect(download(offline)).rejects.toThrow(
      /owner\/model is not in the cache .*; download it with a network, without HF_HUB_OFFLINE/,
    );
    expect(hub.seen).toEqual([]);
    const { folder } = await download();
    hub.seen.length = 0;
    expect(await download(offline)).toMatchObject({ folder });
    rmSync(join(folder, shards[1]));
    await expect(download(offline)).rejects.toThrow(
      `lacks ${shards[1]}, so the download of owner/model is not complete`,
    );
    expect(hub.seen).toEqual([]);
    await download();
    expect(await download(offline)).toMatchObject({ folder });
  });
});

function shardName(i: number, n: number): string {
  return `${String(i + 1).padStart(5, "0")}-of-${String(n).padStart(5, "0")}.safetensors`;
}

/** A hub with a repository, an empty cache, and the download of one into the other. */
async function serving(files: Files = repository) {
  const hub = await hubServer(files);
  const cache = join(temporaryFolder(), "cache");
  const download = (
    change: Partial<HubSettings> = {},
    model = "owner/model",
    onEvent?: (event: DownloadEvent) => unknown,
    signal?: AbortSignal,
  ) => downloadModel(model, { settings: settingsFor(hub, cache, change), onEvent, signal });
  return { hub, cache, download };
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Bytes that look random and are the same every time (a linear congruential generator). */
function noise(length: number, seed: number): Buffer {
  let state = seed * 7919 + 1;
  return Buffer.from({ length } as ArrayLike<number>).map(() => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  }) as Buffer;
}

function contentOf(folder: string): Record<string, string> {
  const paths = readdirSync(folder, { recursive: true }).map(String);
  const files = paths.filter((path) => statSync(join(folder, path)).isFile());
  return Object.fromEntries(files.sort().map((path) => [path, gitId(readFileSync(join(folder, path)))]));
}

function hexOf(files: Files): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([path, bytes]) => [path, gitId(bytes)]));
}

/** Every file in blobs/ has the content that its name says, or says itself that it is not complete. */
function expectWholeBlobs(repo: string): void {
  const blobs = join(repo, "blobs");
  if (!existsSync(blobs)) return;
  const known = new Set(
    Object.entries(repository).map(([path, bytes]) => `${etagOf(path, bytes)} ${gitId(bytes)}`),
  );
  for (const name of readdirSync(blobs).filter((file) => !file.endsWith(".incomplete")))
    expect(known).toContain(`${name} ${gitId(readFileSync(join(blobs, name)))}`);
}

function isContent(hub: HubServer, { headers }: { headers: { host?: string } }): boolean {
  return `http://${headers.host}` === hub.cdn;
}

function contentAt(hub: HubServer, url: string): Buffer {
  const [, commit, path] = /^\/([^/]+)\/(.+)\?/.exec(url)!;
  return hub.commits[commit][path];
}

function rangeOf({ headers }: { headers: { range?: string } }): number {
  return Number(/\d+/.exec(headers.range ?? "0")![0]);
}

/** @file Downloads that are cut, put off, stopped, or done twice at once, from a hub on loopback. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  contentOf,
  expectWholeBlobs,
  isContent,
  noise,
  rangeOf,
  repository,
  serving,
  shards,
  weights,
  whole,
} from "../../test/helpers/hub-repository.ts";
import { cutAfter, etagOf } from "../../test/helpers/hub-server.ts";
import { CancelledError } from "../errors.ts";
import type { DownloadEvent } from "./download-events.ts";

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
    expect(contentOf(folder)).toEqual(whole());
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
    expect(contentOf(folder)).toEqual(whole());
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
    expect(contentOf((await download()).folder)).toEqual(whole());
  });

  test("counts as cut when it is silent", async () => {
    const { hub, download } = await serving();
    let silences = 0;
    hub.misbehave = (request, response) => {
      if (!isContent(hub, request) || !request.url!.includes(weights) || silences++ > 0) return false;
      response.writeHead(200, { "content-length": 400_000 }).write(repository[weights].subarray(0, 1000));
      return true;
    };
    expect(contentOf((await download({ silenceMs: 300 })).folder)).toEqual(whole());
  });
});

test("a part that belongs to something else is noticed and fetched again", async () => {
  const { cache, download } = await serving();
  const blobs = join(cache, "models--owner--model/blobs");
  mkdirSync(blobs, { recursive: true });
  writeFileSync(join(blobs, `${etagOf(weights, repository[weights])}.incomplete`), noise(200_000, 77));
  writeFileSync(join(blobs, `${etagOf(shards[0], repository[shards[0]])}.incomplete`), noise(70_000, 78));
  writeFileSync(join(blobs, `${etagOf(shards[1], repository[shards[1]])}.incomplete`), noise(90_000, 79));
  expect(contentOf((await download()).folder)).toEqual(whole());
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
  expect(contentOf(folder)).toEqual(whole());
  expect(reasons.join("\n")).toMatch(/limits the rate of requests .*\(status 429\)[\s\S]*\(status 503\)/);
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
  expect(contentOf((await download()).folder)).toEqual(whole());
});

test("two downloads at the same time make one copy and both end well", async () => {
  const { hub, cache, download } = await serving();
  const [a, b] = await Promise.all([download(), download()]);
  expect(a.folder).toBe(b.folder);
  expect(contentOf(a.folder)).toEqual(whole());
  expectWholeBlobs(join(cache, "models--owner--model"));
  expect(hub.seen.filter(({ host, method }) => host === "cdn" && method === "GET")).toHaveLength(4);
});

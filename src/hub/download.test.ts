/** @file Downloads from a hub on loopback that serves well, and from the cache when it is gone. */
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  checkpoint,
  contentAt,
  contentOf,
  hexOf,
  json,
  licence,
  noise,
  repository,
  serving,
  shards,
  weights,
} from "../../test/helpers/hub-repository.ts";
import { commitA, commitB, etagOf, sendBytes } from "../../test/helpers/hub-server.ts";
import type { DownloadEvent } from "./download-events.ts";

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

test("that a commit is no checkpoint is remembered, as Python remembers files that do not exist", async () => {
  const { "model_index.json": _, ...rest } = repository;
  const { cache, download } = await serving(rest);
  await expect(download()).rejects.toThrow(/has no model_index\.json, so it is no checkpoint/);
  expect(existsSync(join(cache, "models--owner--model/.no_exist", commitA, "model_index.json"))).toBe(true);
  await expect(download({ offline: true }, `owner/model@${commitA}`)).rejects.toThrow(
    /has no model_index\.json/,
  );
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

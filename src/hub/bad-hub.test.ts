/** @file Hubs on loopback that do everything wrong. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  expectWholeBlobs,
  isContent,
  json,
  noise,
  repository,
  serving,
  weights,
} from "../../test/helpers/hub-repository.ts";
import {
  commitA,
  commitB,
  type HubServer,
  type Misbehaviour,
  sendBytes,
  sendJson,
} from "../../test/helpers/hub-server.ts";
import { ConfigError, WeightsError } from "../errors.ts";

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

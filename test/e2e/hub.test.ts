/** @file A model that is named and not there: downloaded from a hub on loopback, then used like any folder. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cogvideox, cogvideoxProcess, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { commitA, type Files, filesOf, hubServer } from "../helpers/hub-server.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const repo = "owner/tiny";
const files: Files = {
  ...filesOf(recorded("t2v-rope")),
  "README.md": Buffer.from("# Tiny"),
  LICENSE: Buffer.from("Mine\n"),
};

beforeEach(() => {
  for (const name of [
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_HUB_OFFLINE",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
  ])
    vi.stubEnv(name, undefined);
});
afterEach(() => void vi.unstubAllEnvs());

test("generate downloads its model first, and makes the same latents as from the folder", async () => {
  const { hub, home } = await serving();
  const cwd = temporaryFolder();
  const args = ["--steps", "1", "--seed", "5"];
  const from = (model: string, name: string) =>
    cogvideox(
      [
        "generate",
        "a cat",
        "--model",
        model,
        ...args,
        "-o",
        `${name}.mp4`,
        "--save-latents",
        `${name}.safetensors`,
      ],
      { cwd },
    );
  const ended = await from(repo, "hub");
  expect(ended).toMatchObject({ status: 0, stdout: `${join(cwd, "hub.mp4")}\n` });
  expect(ended.stderr).toMatch(
    /owner\/tiny is given out under this licence: mit[\s\S]*downloading owner\/tiny: 15 files/,
  );
  expect(await from(recorded("t2v-rope"), "folder")).toMatchObject({ status: 0 });
  expect(
    readFileSync(join(cwd, "hub.safetensors")).equals(readFileSync(join(cwd, "folder.safetensors"))),
  ).toBe(true);
  expect(existsSync(join(home, "hub/models--owner--tiny/snapshots", commitA, "README.md"))).toBe(false);
  await hub.close();
  const again = await from(`${repo}@${commitA}`, "again");
  expect(again).toMatchObject({ status: 0 });
  expect(again.stderr).not.toContain("download");
});

test("forward takes a model of the hub", async () => {
  await serving();
  const output = join(temporaryFolder(), "states.safetensors");
  const ended = await cogvideox([
    "forward",
    "text-encoder",
    "--model",
    repo,
    "--prompt",
    "a cat",
    "-o",
    output,
  ]);
  expect(ended).toMatchObject({ status: 0 });
  expect(existsSync(output)).toBe(true);
});

test("download prints the folder, tells programs how it goes, and takes a revision", async () => {
  const { hub, home } = await serving();
  hub.revisions["v1.0"] = commitA;
  const folder = join(home, "hub/models--owner--tiny/snapshots", commitA);
  const ended = await cogvideox(["download", repo, "--revision", "v1.0", "--json"]);
  expect(ended.status).toBe(0);
  const lines = jsonLines(ended);
  expect(lines.map(({ event }) => event)).toEqual(
    expect.arrayContaining(["download-licence", "download-plan", "download-progress", "download-file"]),
  );
  expect(lines.at(-1)).toMatchObject({ event: "done", folder, commit: commitA });
  expect(await cogvideox(["download", `${repo}@v1.0`])).toMatchObject({
    status: 0,
    stdout: `${folder}\n`,
    stderr: "everything is in the cache already\n",
  });
});

test("a folder of that name wins", async () => {
  const { hub } = await serving();
  const cwd = temporaryFolder();
  mkdirSync(join(cwd, repo), { recursive: true });
  const ended = await cogvideox(["generate", "a cat", "--model", repo], { cwd });
  expect(ended).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/owner\/tiny is not a checkpoint folder/),
  });
  expect(hub.seen).toEqual([]);
});

test.each([
  [
    "a model that nobody has",
    ["--model", "no/such"],
    2,
    /there is no model no\/such on 127.*\(there is no folder no\/such either\)/,
  ],
  [
    "an output that cannot be written, before the download",
    ["--model", repo, "-o", "clip.xyz"],
    2,
    /clip\.xyz/,
  ],
])("%s is refused in a sentence", async (_, args, status, message) => {
  const { hub } = await serving();
  const ended = await cogvideox(["generate", "a cat", ...args]);
  expect(ended).toMatchObject({ status, stderr: expect.stringMatching(message) });
  expect(hub.seen.filter(({ method, path }) => method === "HEAD" || path.includes("/resolve/"))).toEqual([]);
});

test("offline, the cache is all there is", async () => {
  await serving();
  vi.stubEnv("HF_HUB_OFFLINE", "1");
  const ended = await cogvideox(["download", repo]);
  expect(ended).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/owner\/tiny is not in the cache .*without HF_HUB_OFFLINE/),
  });
});

test("Ctrl-C during a download ends with status 130 and the next download finishes it", async () => {
  const { hub, home } = await serving();
  hub.misbehave = (_, response, { host, path }) => {
    if (host !== "cdn" || !path.includes("text_encoder")) return false;
    const bytes = files["text_encoder/model.safetensors"];
    response.writeHead(200, { "content-length": bytes.length }).write(bytes.subarray(0, bytes.length / 2));
    return true;
  };
  const ended = await cogvideoxProcess(["download", repo], {
    onStderr: (text) => (text.includes("vae/diffusion_pytorch_model-00012") ? "SIGINT" : undefined),
  });
  expect(ended).toMatchObject({ status: 130, stdout: "" });
  expect(existsSync(join(home, "hub/models--owner--tiny/snapshots"))).toBe(false);
  hub.misbehave = () => false;
  expect(await cogvideoxProcess(["download", repo])).toMatchObject({ status: 0 });
  const blobs = readdirSync(join(home, "hub/models--owner--tiny/blobs"));
  expect(blobs.filter((name) => name.endsWith(".incomplete"))).toEqual([]);
});

/** A hub with the tiny checkpoint, and an empty Hugging Face home, both in the environment. */
async function serving() {
  const hub = await hubServer(files, repo);
  const home = temporaryFolder();
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  vi.stubEnv("HF_HOME", home);
  return { hub, home };
}

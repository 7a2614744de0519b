/** @file `cogvideox plan`, and what generate says and refuses before it starts. */
import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { copyCheckpoint, recorded } from "../helpers/tiny-checkpoint.ts";

const model = recorded("t2v-rope");
const PROMPT = "A red circle moves left.";
/** No machine holds the frames of this one. */
const huge = ["--width", "8192", "--height", "8192", "--frames", "9"];

test("plan says what every stage takes, and makes nothing", async () => {
  const cwd = temporaryFolder();
  const args = ["plan", PROMPT, "--model", model, "--steps", "3", "--cache", "teacache"];
  const { status, stdout } = await cogvideox(args, { cwd });
  expect(status).toBe(0);
  for (const says of [
    /text encoder/,
    /transformer/,
    /VAE decoder/,
    /whole frames/,
    /precision fp32/,
    /teacache/,
  ])
    expect(stdout).toMatch(says);
  expect(readdirSync(cwd)).toEqual([]);
  const [plan] = jsonLines(await cogvideox([...args, "--json"], { cwd }));
  expect(plan).toMatchObject({ event: "plan", fits: true, width: 64, height: 48, frames: 9, steps: 3 });
  expect(plan.stages).toMatchObject([{ stage: "text" }, { stage: "denoise" }, { stage: "decode" }]);
});

test("plan needs no weights", async () => {
  const folder = copyCheckpoint("t2v-rope");
  for (const part of ["transformer", "vae", "text_encoder"])
    for (const name of readdirSync(join(folder, part)))
      if (name !== "config.json") rmSync(join(folder, part, name));
  expect((await cogvideox(["plan", PROMPT, "--model", folder])).status).toBe(0);
});

test("plan fails for a run that cannot fit, with one that can", async () => {
  const ended = await cogvideox(["plan", PROMPT, "--model", model, ...huge, "--json"]);
  expect(ended.status).toBe(1);
  expect(jsonLines(ended)[0]).toMatchObject({ fits: false, width: 8192 });
});

test("generate refuses a run that cannot fit before it starts", async () => {
  const cwd = temporaryFolder();
  const ended = await cogvideox(["generate", PROMPT, "--model", model, ...huge], { cwd });
  expect(ended.status).toBe(2);
  expect(ended.stderr).toMatch(
    /needs about [\d.]+ [GT]iB of memory \(.*\), and [\d.]+ [MG]iB are available; with --/,
  );
  expect(readdirSync(cwd)).toEqual([]);
});

test("generate says its plan in one line", async () => {
  const cwd = temporaryFolder();
  const args = ["generate", PROMPT, "--model", model, "--steps", "1", "-o", "clip-png", "--json"];
  const ended = await cogvideox(args, { cwd });
  expect(ended.stderr).toMatch(/^plan: [\d.]+ MiB of [\d.]+ [MG]iB of memory, about [\d.]+ s$/m);
  expect(jsonLines(ended)[0]).toMatchObject({ event: "plan", fits: true, tiling: false });
});

test("inspect reads a checkpoint whose transformer is quantised", async () => {
  const folder = copyCheckpoint("t2v-rope");
  const quantized = join(temporaryFolder(), "transformer");
  await cogvideox(["convert", join(folder, "transformer"), quantized, "--quantize", "w8"]);
  rmSync(join(folder, "transformer"), { recursive: true });
  cpSync(quantized, join(folder, "transformer"), { recursive: true });
  const ended = await cogvideox(["inspect", folder]);
  expect(ended.stdout).toMatch(/quantised to w8/);
  expect(ended.status).toBe(0);
  const [report] = jsonLines(await cogvideox(["inspect", folder, "--json"]));
  const [plain] = jsonLines(await cogvideox(["inspect", model, "--json"]));
  const of = (json: Record<string, unknown>) =>
    (json.components as Record<string, { precision: string; parameters: number; weights: { bytes: number } }>)
      .transformer;
  expect(of(report)).toMatchObject({ precision: "w8", parameters: of(plain).parameters });
  expect(of(report).weights.bytes).toBeLessThan(of(plain).weights.bytes);
});

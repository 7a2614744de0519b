/** @file `--precision fp16` through the command line: clips, plans, recipes, runs that go on. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { readClip } from "../../src/data/shapes/reader/read.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { readFloats } from "../../src/weights/read.ts";
import { readHeader } from "../../src/weights/safetensors.ts";
import { writeSafetensors } from "../../src/weights/write.ts";
import { cogvideox, cogvideoxProcess, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { hashed } from "../helpers/host-tensor.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const PROMPT = "A red circle moves left.";
const half = ["--precision", "fp16"];
/** Its weights are stored in float16, so that nothing is written to the user's cache. */
const tiny = ["--model", recorded("t2v-sincos"), ...half, "--seed", "7", "--frames", "9"];
const NOTE =
  /^precision fp16 is for GPUs: the cpu rounds to float16 and computes in float32, about as fast as fp32$/m;

test("nano draws in float16 what it was asked for", async () => {
  const cwd = temporaryFolder();
  vi.stubEnv("COGVIDEOX_CACHE", join(cwd, "cache"));
  const files = ["--save-frames", "frames.safetensors", "-o", "clip.webp"];
  const prompt = "a red cross moves left";
  const ended = await cogvideox(["generate", prompt, ...half, "--seed", "1", "--steps", "12", ...files], {
    cwd,
  });
  vi.unstubAllEnvs();
  expect(ended).toMatchObject({ status: 0, stderr: expect.stringMatching(NOTE) });
  const stored = (await readHeader(join(cwd, "frames.safetensors"))).tensors.get("frames")!;
  const rgb = Uint8Array.from(await readFloats(stored), (value) => Math.round(255 * value));
  const [frames, height, width] = stored.shape;
  const { objects } = readClip(rgb, { frames, height, width });
  expect(objects).toMatchObject([{ colour: "red", shape: "cross", motion: "left" }]);
}, 120_000);

test("a clip says that it was made in float16, and one like it is the same", async () => {
  const cwd = temporaryFolder();
  const cache = join(cwd, "cache");
  vi.stubEnv("COGVIDEOX_CACHE", cache);
  const made = await cogvideox(["generate", PROMPT, ...tiny, "--steps", "2", "-o", "a.mp4"], { cwd });
  expect(made).toMatchObject({ status: 0, stderr: expect.stringMatching(NOTE) });
  const [report] = jsonLines(await cogvideox(["inspect", "a.mp4", "--json"], { cwd }));
  expect(report).toMatchObject({ recipe: { precision: "fp16" } });
  const again = await cogvideox(["generate", "--like", "a.mp4", "-o", "b.mp4"], { cwd });
  expect(again).toMatchObject({ status: 0, stderr: expect.stringMatching(NOTE) });
  expect(readFileSync(join(cwd, "b.mp4")).equals(readFileSync(join(cwd, "a.mp4")))).toBe(true);
  vi.unstubAllEnvs();
  expect(existsSync(join(cache, "quantized"))).toBe(false);
});

test("a run in float16 that is killed goes on to the same clip", async () => {
  const run = ["generate", PROMPT, ...tiny, "--steps", "4", "-o", "clip.mp4"];
  const [whole, cwd] = [temporaryFolder(), temporaryFolder()];
  expect(await cogvideox(run, { cwd: whole })).toMatchObject({ status: 0 });
  const killed = await cogvideoxProcess([...run, "--checkpoint-dir", "run"], {
    cwd,
    onStderr: (text) => (text.includes("step 2/4") ? "SIGKILL" : undefined),
  });
  expect(killed.status).toBeNull();
  expect(await cogvideox(["resume", "run"], { cwd })).toMatchObject({ status: 0 });
  expect(readFileSync(join(cwd, "clip.mp4")).equals(readFileSync(join(whole, "clip.mp4")))).toBe(true);
}, 180_000);

test("plan says it, and forward gives a velocity that is nearly float32's", async () => {
  const cwd = temporaryFolder();
  const plan = await cogvideox(["plan", PROMPT, "--model", recorded("t2v-sincos"), ...half], { cwd });
  expect(plan.stdout).toMatch(/precision fp16, as asked for/);
  await writeSafetensors(join(cwd, "inputs.safetensors"), {
    hidden_states: asF32(hashed([1, 1, 8, 6, 8], 1)),
    encoder_hidden_states: asF32(hashed([1, 24, 32], 2)),
    timestep: { dtype: "F32", shape: [1], data: Float32Array.of(500) },
  });
  const velocity = async (file: string, ...args: string[]) => {
    const call = [
      "forward",
      "transformer",
      "--model",
      recorded("t2v-sincos"),
      "--inputs",
      "inputs.safetensors",
    ];
    expect(await cogvideox([...call, "-o", file, ...args], { cwd })).toMatchObject({ status: 0 });
    return readFloats((await readHeader(join(cwd, file))).tensors.get("sample")!);
  };
  const [exact, halved] = [await velocity("a.safetensors"), await velocity("b.safetensors", ...half)];
  expect(halved).not.toEqual(exact);
  expect(halved).toBeCloseToArray(exact, { atol: 2e-3 });
});

const asF32 = ({ shape, data }: HostTensor) => ({ dtype: "F32", shape, data }) as const;

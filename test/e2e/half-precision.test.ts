/** @file `--precision fp16` through the command line: clips, plans, recipes, runs that go on. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { readClip } from "../../src/data/shapes/reader/read.ts";
import { readFloats } from "../../src/weights/read.ts";
import { readHeader } from "../../src/weights/safetensors.ts";
import { cogvideox, cogvideoxProcess, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
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
}, 60_000);

test("plan counts what the processor widens", async () => {
  const cwd = temporaryFolder();
  const plan = async (...args: string[]) =>
    cogvideox(
      ["plan", PROMPT, "--model", recorded("t2v-rope"), "--width", "256", "--height", "256", ...args],
      { cwd },
    );
  expect((await plan(...half)).stdout).toMatch(/precision fp16, as asked for/);
  const [plain, halved] = [await plan("--json"), await plan(...half, "--json")].map(
    (ended) => jsonLines(ended)[0],
  );
  const memoryOf = ({ stages }: Record<string, unknown>) =>
    (stages as { stage: string; memory: number }[]).find(({ stage }) => stage === "denoise")!.memory;
  expect(memoryOf(halved)).toBeGreaterThan(memoryOf(plain));
  expect(readdirSync(cwd)).toEqual([]);
});

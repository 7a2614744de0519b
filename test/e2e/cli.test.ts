/** @file The command line as people meet it: bad calls, full disks, and what a good run leaves behind. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { t5Xxl, transformer2b, vae } from "../../src/cli/bench/official-configs.ts";
import { readFloats } from "../../src/weights/read.ts";
import { readHeader } from "../../src/weights/safetensors.ts";
import { cogvideox, cogvideoxProcess, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { hasFfprobe, probe } from "../helpers/ffprobe.ts";
import { copyCheckpoint, recorded } from "../helpers/tiny-checkpoint.ts";

const model = recorded("t2v-sincos");
const PROMPT = "A red circle moves left, on a plain background.";

describe("a call that is wrong exits with 2 and leaves nothing:", () => {
  test.each([
    [["--width", "60"], /width must be a multiple of 16, got 60; the nearest are 48 and 64/],
    [["--height", "0"], /height must be a multiple of 16, got 0; the least is 16/],
    [["--frames", "12"], /frames must be 8k \+ 1, got 12; the nearest are 9 and 17/],
    [["--steps", "-1"], /steps must be .*1 to 1000, got -1/],
    [["--steps", "1001"], /steps must be .*1 to 1000, got 1001/],
    [["--steps", "0"], /no latents were given/],
    [["--steps", "ten"], /--steps must be a whole number, got "ten"/],
    [["--steps", "2.5"], /--steps must be a whole number, got "2.5"/],
    [["--guidance", "high"], /--guidance must be a number, got "high"/],
    [["--scheduler", "euler"], /--scheduler must be one of ddim, dpm, got "euler"/],
    [["--device", "tpu"], /--device must be one of cpu, webgpu, cuda, got "tpu"/],
    [["--threads", "0"], /--threads must be 1 to 1024, got 0/],
    [["--fps", "0"], /fps.*0/],
    [["--step", "3"], /unknown option --step; did you mean --steps\?/],
    [["--bananas"], /unknown option --bananas/],
    [["--steps"], /--steps/],
    [["another"], /unexpected argument "another"; put a prompt of several words in quotes/],
    [["--prompts", "nowhere.txt"], /not both/],
    [["--guidance-mode", "square"], /--guidance-mode must be one of constant, wave, cosine, got "square"/],
    [["--guidance-interval", "0.5"], /two shares of the run such as 0.1,0.8, got "0.5"/],
    [["--guidance-interval", "0.5,0.2"], /0 <= first < second <= 1, got 0.5 and 0.2/],
    [["--guidance-rescale", "2"], /rescale must be 0 to 1, got 2/],
    [["--guidance-mode", "cosine", "--dynamic-cfg"], /is the mode wave, but the mode cosine is given/],
    [["--apg-eta", "1"], /need --apg/],
    [["--zero-steps", "1"], /needs --cfg-zero/],
    [["--apg", "--cfg-zero"], /exclude each other/],
    [
      ["--seed", "1,b"],
      /--seed must be a whole number of at most \d+, or several with commas between, got "1,b"/,
    ],
    [["--checkpoint-every", "2"], /--checkpoint-every needs --checkpoint-dir/],
    [["--checkpoint-dir", "run", "--checkpoint-every", "0"], /at least 1, got 0/],
    [["--latents", "nowhere.safetensors"], /there is no file or folder "nowhere\.safetensors"/],
    [["-o", "clip.xyz"], /clip\.xyz/],
    [["-o", "missing/clip.mp4"], /folder ".*missing" .*does not exist/],
    [["--model", "nowhere"], /nowhere is not a checkpoint folder/],
  ] as [string[], RegExp][])("generate %j", async (args, says) => {
    const { ended, left } = await generate(args);
    expect(ended.stderr).toMatch(says);
    expect(ended.stderr).not.toMatch(/\n {4}at /);
    expect(ended.stderr).not.toContain("step 1/");
    expect(ended.status).toBe(2);
    expect(left).toEqual([]);
  });

  test.each(["--image", "--video", "--latents", "--lora", "--like", "--prompts"])(
    "generate with a missing file of %s, before anything is planned",
    async (option) => {
      const { ended, left } = await generate([option, "nowhere.png"], option === "--prompts" ? null : PROMPT);
      expect(ended.stderr).toMatch(/^error: .*nowhere\.png/); // the first line: no plan stands before it
      expect(ended).toMatchObject({ status: 2, stdout: "" });
      expect(left).toEqual([]);
    },
  );

  test.each([
    [["genrate", "x"], /unknown command genrate; did you mean generate\?/],
    [["generate", "", "--model", model], /the prompt is empty/],
    [["generate", " \n", "--model", model], /the prompt is empty/],
    [["generate", "--model", model], /the prompt is empty/],
    [
      ["forward", "unet", "--model", model, "-o", "x.safetensors"],
      /unknown part unet; known are transformer/,
    ],
    [["forward", "transformer", "--model", model], /--output is missing/],
    [["forward", "transformer", "--model", model, "-o", "x.safetensors"], /hidden_states is missing/],
    [["train", "lora"], /the recipe is missing: train lora RECIPE\.yaml/],
    [["calibrate", "--model", "nowhere"], /nowhere is not a checkpoint folder/],
    [["inspect"], /PATH is missing/],
    [["inspect", "nowhere"], /no file or folder "nowhere"/],
    [["bench", "unet"], /unknown benchmark unet; known are dit/],
    [["bench", "dit", "--layers", "0"], /--layers must be at least 1, got 0/],
  ] as [string[], RegExp][])("%j", async (args, says) => {
    const cwd = temporaryFolder();
    const ended = await cogvideox(args, { cwd });
    expect(ended.stderr).toMatch(says);
    expect(ended.status).toBe(2);
    expect(readdirSync(cwd)).toEqual([]);
  });
});

test("a process ends with the status of its call", async () => {
  const ended = await cogvideoxProcess(["genrate", "x"]);
  expect(ended).toEqual({
    status: 2,
    stdout: "",
    stderr: "error: unknown command genrate; did you mean generate?\n",
  });
});

test("latents of another shape are refused with both shapes", async () => {
  const latents = join(recorded("t2v-patch-t"), "expected/t2v-ddim.safetensors");
  const { ended, left } = await generate(["--latents", latents]);
  expect(ended.stderr).toMatch(/latents must be \[1, 3, 8, 6, 8\] .* got \[1, 4, 8, 6, 8\]/);
  expect(ended.status).toBe(2);
  expect(left).toEqual([]);
});

test("an output folder that is a file is refused before any work", async () => {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, "file"), "");
  const ended = await cogvideox(["generate", PROMPT, "--model", model, "-o", "file/clip.mp4"], { cwd });
  expect(ended.status).toBe(2);
  expect(ended.stderr).toContain("file");
  expect(readdirSync(cwd)).toEqual(["file"]);
});

describe("a full disk is one sentence, and nothing is left on it:", () => {
  test.each([
    [
      "the frames",
      64,
      ["--save-frames", "frames.safetensors", "-o", "../clip.mp4"],
      /frames\.safetensors is full/,
    ],
    [
      "the latents",
      8,
      ["--save-latents", "latents.safetensors", "-o", "../clip.mp4"],
      /latents\.safetensors is full/,
    ],
    ["the video", 4, ["-o", "clip.mp4"], /cannot .*clip\.mp4": the disk is full/],
    ["the PNG files", 16, ["-o", "clip-png"], /the disk is full/],
  ] as const)("%s", async (_, kib, args, says) => {
    const folder = temporaryFolder();
    const disk = join(folder, "disk");
    mkdirSync(disk);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${kib}k`, "tmpfs", disk]);
    // Only root may mount a small file system.
    if (mounted.status !== 0) return;
    onTestFinished(() => void spawnSync("umount", [disk]));
    writeFileSync(join(disk, "full"), Buffer.alloc(4096));
    const base = ["generate", PROMPT, "--model", model, "--seed", "1", "--steps", "1"];
    const ended = await cogvideox([...base, ...args], { cwd: disk });
    expect(ended.stderr).toMatch(says);
    expect(ended.stderr).not.toMatch(/\n {4}at /);
    expect(ended.status).toBe(1);
    expect(readdirSync(disk)).toEqual(["full"]);
    expect(readdirSync(folder)).toEqual(["disk"]);
  });
});

test("a prompt over the token limit is cut with a warning that shows the rest", async () => {
  const prompt = `${"A red circle moves left. ".repeat(12)}The very end.`;
  const { ended, left } = await generate(["--steps", "1"], prompt);
  expect(ended.stderr).toMatch(/warning: the prompt is too long .*The very end\./);
  expect(ended.status).toBe(0);
  expect(left).toEqual(["clip.mp4"]);
});

test("a benchmark prints what it measured as one JSON object, and then that it is done", async () => {
  const size = ["--width", "64", "--height", "48", "--frames", "9"];
  const ended = await cogvideox(["bench", "dit", "--layers", "1", "--runs", "1", ...size, "--json"]);
  expect(ended.status).toBe(0);
  const number = expect.any(Number);
  expect(jsonLines(ended)).toEqual([
    {
      ...{ what: "dit", precision: "fp32", layers: 1, tokens: 226 + 36, seconds: number, gflops: number },
      ...{ peakRssMiB: number, peakAnonMiB: number, idleAnonMiB: number },
    },
    { event: "done", seconds: number, peakRssMiB: number },
  ]);
  const [measured, done] = jsonLines(ended) as unknown as { seconds: number; peakRssMiB: number }[];
  // A run to warm up and the weights that are written before count as well.
  expect(done.seconds).toBeGreaterThan(measured.seconds);
  // Linux counts pages by processor, so that the same peak may be read a little lower.
  expect(done.peakRssMiB).toBeGreaterThan(0.95 * measured.peakRssMiB);
});

test("the same seed gives the same latents in any process, bit by bit; another seed does not", async () => {
  const [a, b, c] = [await latentsOf("7"), await latentsOf("7", cogvideoxProcess), await latentsOf("8")];
  expect(a.equals(b)).toBe(true);
  expect(a.equals(c)).toBe(false);
});

describe("a finished run", () => {
  test("can be decoded again from its latents, to the same frames", async () => {
    const out = temporaryFolder();
    const at = (name: string) => join(out, name);
    const whole = ["--save-latents", at("l.safetensors"), "--save-frames", at("a.safetensors")];
    expect((await generate(["--steps", "2", ...whole])).ended.status).toBe(0);
    const again = ["--steps", "0", "--latents", at("l.safetensors"), "--save-frames", at("b.safetensors")];
    expect((await generate(again, null)).ended).toMatchObject({ status: 0 });
    expect(await framesOf(at("a.safetensors"))).toEqual(await framesOf(at("b.safetensors")));
  });

  test("is an MP4 that ffprobe reads and inspect knows the recipe of", async ({ skip }) => {
    const out = temporaryFolder();
    const clip = join(out, "clip.mp4");
    const args = ["--model", model, "--steps", "2", "--guidance", "3.5", "--seed", "11", "-o", clip];
    const ended = await cogvideoxProcess(["generate", PROMPT, ...args, "--json"]);
    expect(ended.status).toBe(0);
    expect(jsonLines(ended).map(({ event }) => event)).toEqual(
      expect.arrayContaining(["encoded", "step", "frames", "done"]),
    );
    expect(jsonLines(ended).at(-1)).toMatchObject({
      event: "done",
      output: clip,
      seconds: expect.any(Number),
      peakRssMiB: expect.any(Number),
    });
    const inspected = await cogvideox(["inspect", clip, "--json"]);
    expect(jsonLines(inspected)).toMatchObject([
      {
        kind: "video",
        width: 64,
        height: 48,
        frames: 9,
        fps: 8,
        codec: "h264",
        recipe: { prompt: PROMPT, seed: 11, steps: 2, guidance: 3.5, aiGenerated: true },
      },
    ]);
    if (!hasFfprobe()) skip("ffprobe is not installed");
    expect(probe(clip)).toMatchObject([{ codec_name: "h264", width: 64, height: 48, nb_read_frames: "9" }]);
  });

  test.each(["clip.webm", "clip.gif", "clip.webp", "clip-png", "clip/"])(
    "is written as %s with its recipe",
    async (name) => {
      const out = temporaryFolder();
      const args = ["--model", model, "--steps", "1", "--seed", "3", "-o", join(out, name)];
      const ended = await cogvideox(["generate", PROMPT, ...args]);
      expect(ended.status).toBe(0);
      expect(ended.stdout).toBe(`${join(out, name)}\n`);
      const [report] = jsonLines(await cogvideox(["inspect", join(out, name), "--json"]));
      expect(report).toMatchObject({ width: 64, height: 48, recipe: { prompt: PROMPT, seed: 3 } });
    },
  );
});

describe("inspect", () => {
  test.each(["t2v-rope", "t2v-sincos", "t2v-patch-t"])("finds that all of %s fits", async (name) => {
    const ended = await cogvideox(["inspect", recorded(name), "--json"]);
    expect(ended.status).toBe(0);
    expect(jsonLines(ended)).toMatchObject([
      {
        kind: "checkpoint",
        pipelineClass: "CogVideoXPipeline",
        scheduler: { className: "CogVideoXDDIMScheduler" },
        tokenizer: { tokens: 800 },
        problems: [],
      },
    ]);
  });

  test("counts the parameters of official models from their configurations alone", async () => {
    const folder = copyCheckpoint("t2v-rope");
    for (const [name, json] of Object.entries({ transformer: transformer2b, text_encoder: t5Xxl, vae })) {
      rmSync(join(folder, name), { recursive: true });
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, "config.json"), JSON.stringify(json));
    }
    const ended = await cogvideox(["inspect", folder, "--json"]);
    expect(ended.status).toBe(1);
    expect(jsonLines(ended)).toMatchObject([
      {
        components: {
          transformer: { parameters: 1_693_783_872, weights: null, keys: null },
          text_encoder: { parameters: 4_762_310_656 },
          vae: { parameters: 215_583_907 },
        },
      },
    ]);
    const [{ problems }] = jsonLines(ended);
    expect(problems).toHaveLength(3);
  });

  test("lists the tensors of a safetensors file", async () => {
    const file = join(model, "expected/t2v-ddim.safetensors");
    const { status, stdout } = await cogvideox(["inspect", file]);
    expect(status).toBe(0);
    expect(stdout).toContain("5 tensors");
    expect(stdout).toMatch(/latents +F32 +\[1, 3, 8, 6, 8\]/);
  });
});

describe("help", () => {
  test.each([[[]], [["--help"]], [["help"]]])("%j lists the commands", async (args) => {
    const { status, stdout } = await cogvideox(args);
    expect(status).toBe(0);
    for (const name of ["generate", "forward", "inspect", "bench"]) expect(stdout).toContain(`  ${name} `);
  });

  test("generate --help lists its options", async () => {
    const { status, stdout } = await cogvideox(["generate", "--help"]);
    expect(status).toBe(0);
    for (const option of ["--model", "--steps", "--seed", "--save-latents", "--json"])
      expect(stdout).toContain(option);
  });
});

/** Generates into a fresh folder; `left` is what the folder holds afterwards. */
async function generate(
  args: readonly string[],
  prompt: string | null = PROMPT,
  run: typeof cogvideox = cogvideox,
) {
  const cwd = temporaryFolder();
  const rest = ["--model", model, "--seed", "1", "-o", "clip.mp4", ...args];
  const ended = await run(["generate", ...(prompt === null ? [] : [prompt]), ...rest], { cwd });
  return { ended, left: readdirSync(cwd) };
}

async function latentsOf(seed: string, run: typeof cogvideox = cogvideox): Promise<Buffer> {
  const file = join(temporaryFolder(), "latents.safetensors");
  const { ended } = await generate(["--steps", "2", "--seed", seed, "--save-latents", file], PROMPT, run);
  expect(ended.status).toBe(0);
  return readFileSync(file);
}

async function framesOf(file: string): Promise<Float32Array> {
  return readFloats((await readHeader(file)).tensors.get("frames")!);
}

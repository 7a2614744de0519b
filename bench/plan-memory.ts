/** @file Compares planned memory with what runs of the command line take: JSON rows with planned, measured and ratio. */
import { type ChildProcess, spawn } from "node:child_process";
import { copyFile, cp, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { t5Xxl, transformer2b, vae } from "../src/cli/bench/official-configs.ts";
import { type RandomModels, writeRandomCheckpoint } from "../src/cli/bench/random-checkpoint.ts";
import { mebibytes } from "../src/cli/numbers.ts";

const cli = fileURLToPath(new URL("../bin/cogvideox.mjs", import.meta.url));
const fixtures = fileURLToPath(new URL("../test/fixtures/checkpoints/", import.meta.url));

/** A checkpoint in the official layout and of medium width: small enough for a minute, large enough to be seen. */
const medium = {
  transformer: { ...transformer2b, num_attention_heads: 12, num_layers: 4, text_embed_dim: 1024 },
  text_encoder: { ...t5Xxl, vocab_size: 2048, d_model: 1024, d_ff: 2816, num_layers: 4, num_heads: 16 },
  vae: { ...vae, block_out_channels: [64, 64, 128, 128], sample_height: 192, sample_width: 320 },
};

/** The width of CogVideoX-2B, of its text encoder and of its VAE, with few layers: a plan takes them all for alike. */
const official = {
  transformer: { ...transformer2b, num_layers: 3 },
  text_encoder: { ...t5Xxl, vocab_size: 2048, num_layers: 2 },
  vae,
};

type Run = { readonly name: string; readonly model: string; readonly options: readonly string[] };

/** Folders of checkpoints that are made when a run asks for them, and a clip to start from. */
type Made = {
  readonly medium: string;
  /** `medium` with a transformer stored in bytes. */
  readonly quantized: string;
  readonly official: string;
  readonly video: string;
};

/** Names on the command line choose among these. */
function runsOf({ medium, quantized, official, video }: Made): Run[] {
  const clip = (width: number, height: number, frames: number) => [
    ...["--width", String(width), "--height", String(height), "--frames", String(frames)],
  ];
  const tiny = (name: string) => join(fixtures, name);
  return [
    { name: "tiny", model: tiny("t2v-rope"), options: [] },
    { name: "tiny-large", model: tiny("t2v-rope"), options: clip(256, 192, 9) },
    { name: "tiny-1.5", model: tiny("t2v-patch-t"), options: [] },
    { name: "small", model: medium, options: clip(160, 96, 9) },
    { name: "small-int8", model: quantized, options: clip(160, 96, 9) },
    { name: "small-unguided", model: medium, options: [...clip(160, 96, 9), "--guidance", "1"] },
    { name: "long", model: medium, options: clip(160, 96, 33) },
    { name: "wide", model: medium, options: clip(320, 192, 9) },
    { name: "wide-tiled", model: medium, options: [...clip(320, 192, 9), "--tiling"] },
    // The constants of the plan were not fitted to those that follow.
    { name: "new-sines", model: tiny("t2v-sincos"), options: clip(192, 128, 17) },
    { name: "new-tiled", model: medium, options: [...clip(192, 128, 9), "--tiling"] },
    { name: "new-large", model: tiny("t2v-rope"), options: clip(352, 288, 9) },
    { name: "new-medium", model: medium, options: clip(224, 128, 9) },
    { name: "official-small", model: official, options: clip(96, 64, 9) },
    { name: "official-chunks", model: official, options: clip(160, 96, 17) },
    { name: "official-large", model: official, options: clip(240, 160, 9) },
    { name: "official-video", model: official, options: [...clip(240, 160, 9), "--video", video] },
    { name: "official-tiled", model: official, options: [...clip(480, 320, 9), "--tiling"] },
  ];
}

/** The event that ends each stage; encoding of pictures ends with that of the text. */
const ends: Readonly<Record<string, string>> = {
  plan: "start",
  encoded: "text",
  step: "denoise",
  done: "decode",
};

const context = {
  terminal: { isJson: false, say() {}, print() {}, emit() {}, progress() {} },
  signal: new AbortController().signal,
};

const out = await mkdtemp(join(tmpdir(), "cogvideox-plan-"));
try {
  const made: Made = {
    medium: join(out, "medium"),
    quantized: join(out, "quantized"),
    official: join(out, "official"),
    video: join(out, "shapes/videos/000000.mp4"),
  };
  const names = process.argv.slice(2);
  const runs = runsOf(made).filter(({ name }) => names.length === 0 || names.includes(name));
  await make(made, runs);
  for (const run of runs) console.log(JSON.stringify(await rowOf(run, out)));
} finally {
  await rm(out, { recursive: true, force: true });
}

/** Makes what the runs ask for. */
async function make(made: Made, runs: readonly Run[]): Promise<void> {
  const isAsked = (path: string) =>
    runs.some(({ model, options }) => model === path || options.includes(path));
  if (isAsked(made.medium) || isAsked(made.quantized)) await makeCheckpoint(made.medium, medium);
  if (isAsked(made.official)) await makeCheckpoint(made.official, official);
  if (isAsked(made.quantized)) await quantize(made.medium, made.quantized);
  if (isAsked(made.video))
    await runCommand([
      "data",
      "make-shapes",
      "--clips",
      "1",
      "--frames",
      "9",
      "-o",
      join(made.video, "../.."),
    ]);
}

/** Random weights, with the tokenizer of a recorded checkpoint. */
async function makeCheckpoint(folder: string, models: RandomModels): Promise<void> {
  await writeRandomCheckpoint(folder, models, context);
  await mkdir(join(folder, "tokenizer"));
  for (const name of ["spiece.model", "tokenizer_config.json"])
    await copyFile(join(fixtures, "t2v-rope/tokenizer", name), join(folder, "tokenizer", name));
}

/** The same checkpoint with a transformer whose weights are bytes. */
async function quantize(folder: string, target: string): Promise<void> {
  await cp(folder, target, { recursive: true });
  await rm(join(target, "transformer"), { recursive: true });
  const folders = [join(folder, "transformer"), join(target, "transformer")];
  await runCommand(["convert", ...folders, "--quantize", "int8"]);
}

async function runCommand(args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [cli, ...args], { stdio: ["ignore", "ignore", "inherit"] });
  const status = await new Promise((resolve) => child.on("close", resolve));
  if (status !== 0) throw new Error(`cogvideox ${args.join(" ")} ended with ${status}`);
}

type Plan = {
  readonly memory: number;
  readonly seconds: number;
  readonly stages: readonly { readonly stage: string; readonly memory: number }[];
};

/** One run in a process of its own, whose anonymous memory is looked at from outside. */
async function rowOf({ name, model, options }: Run, out: string) {
  const args = ["generate", "a b", "--model", model, "--steps", "2", "--seed", "1", ...options, "--json"];
  const output = join(out, `${name}.mp4`);
  const { plan, peaks, seconds } = await watched([...args, "-o", output]);
  const planned = Object.fromEntries(plan.stages.map(({ stage, memory }) => [stage, mebibytes(memory)]));
  const measured = mebibytes(Math.max(...Object.values(peaks)));
  return {
    name,
    options: options.join(" "),
    planned: mebibytes(plan.memory),
    measured,
    ratio: Number((mebibytes(plan.memory) / measured).toFixed(2)),
    stages: {
      planned,
      measured: Object.fromEntries(Object.entries(peaks).map(([stage, bytes]) => [stage, mebibytes(bytes)])),
    },
    plannedSeconds: Number(plan.seconds.toFixed(1)),
    seconds: Number(seconds.toFixed(1)),
  };
}

async function watched(args: readonly string[]) {
  const child = spawn(process.execPath, [cli, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const peaks: Record<string, number> = {};
  let highest = 0;
  let plan: Plan | undefined;
  const look = async () => {
    highest = Math.max(highest, await anonymousOf(child));
  };
  const timer = setInterval(look, 5);
  let rest = "";
  let seconds = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split("\n");
    rest = lines.pop()!;
    for (const event of lines.map((line) => JSON.parse(line))) {
      if (event.event === "plan") plan = event;
      if (event.event === "done") seconds = event.seconds;
      const stage = ends[event.event];
      if (stage === undefined) continue;
      peaks[stage] = Math.max(peaks[stage] ?? 0, highest);
      highest = 0;
    }
  });
  const status = await new Promise((resolve) => child.on("close", resolve));
  clearInterval(timer);
  if (status !== 0 || plan === undefined) throw new Error(`cogvideox ${args.join(" ")} ended with ${status}`);
  return { plan, peaks, seconds };
}

async function anonymousOf({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return 1024 * Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0);
}

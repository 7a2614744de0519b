/**
 * @file What each precision costs and gives: error of the velocity, PSNR of the clip, weights, memory and time, as JSON.
 *
 * Usage: tsx bench/precision.ts [--layers N] [--runs N] [--size WxHxF] [CHECKPOINT...]
 * Without a checkpoint: random weights of CogVideoX-2B's width. Runs of all precisions take turns in one process.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { transformer2b } from "../src/cli/bench/official-configs.ts";
import { withRandomCheckpoint } from "../src/cli/bench/random-checkpoint.ts";
import { mebibytes } from "../src/cli/numbers.ts";
import { processTerminal } from "../src/cli/terminal.ts";
import { createRng, drawNormals } from "../src/diffusion/noise.ts";
import { parseTransformerConfig } from "../src/models/transformer/config.ts";
import { openComponent } from "../src/pipeline/checkpoint.ts";
import { clipSize, latentSize } from "../src/pipeline/clip-size.ts";
import { Denoiser } from "../src/pipeline/denoiser.ts";
import { loadPipeline } from "../src/pipeline/pipeline.ts";
import { type Precision, weightsIn } from "../src/pipeline/precision.ts";
import { textToVideo } from "../src/pipeline/text-to-video.ts";
import { Engine } from "../src/runtime/engine.ts";
import { readMemory } from "../src/runtime/memory.ts";
import type { HostTensor } from "../src/runtime/protocol.ts";

const measured = ["fp32", "fp16", "int8", "w8", "w4"] as const satisfies readonly Precision[];

type Row = {
  readonly checkpoint: string;
  readonly precision: Precision;
  /** Root mean square of the velocity's error over that of the velocity in fp32. */
  readonly velocityError: number;
  /** Of a clip of 8 steps against the one in fp32, in dB; null without a whole checkpoint, infinite for fp32. */
  readonly clipPsnr: number | null;
  /** Of the blocks as they are stored. */
  readonly weightMiB: number;
  /** Anonymous memory that the loaded model holds between runs. */
  readonly heldMiB: number;
  /** Fastest run, and how many times faster than the fastest in fp32. */
  readonly seconds: number;
  readonly speed: number;
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { layers: { type: "string" }, runs: { type: "string" }, size: { type: "string" } },
});
const runs = Number(values.runs ?? 3);
const size = values.size?.split("x").map(Number);
const context = {
  terminal: processTerminal(true),
  signal: new AbortController().signal,
  cleanups: new Set<() => Promise<void>>(),
};
const cache = await mkdtemp(join(tmpdir(), "cogvideox-precision-"));
try {
  const rows: Row[] = [];
  for (const folder of positionals) rows.push(...(await measureFolder(folder, await clips(folder))));
  if (positionals.length === 0) {
    const transformer = { ...transformer2b, num_layers: Number(values.layers ?? 2) };
    const measure = (folder: string) => measureFolder(folder, null);
    rows.push(...(await withRandomCheckpoint({ transformer }, context, measure)));
  }
  process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
} finally {
  await rm(cache, { recursive: true, force: true });
}

async function measureFolder(folder: string, psnr: ReadonlyMap<Precision, number> | null): Promise<Row[]> {
  const { config, weights } = await openComponent(folder, "transformer", parseTransformerConfig);
  const [width, height, frames] = size ?? [];
  const latents = latentSize(config, clipSize(config, { width, height, frames: frames ?? 9 }));
  const textLength = config.maxTextLength;
  const inputs = {
    latents: normals([1, latents.frames, config.inChannels, latents.height, latents.width], 0),
    text: normals([1, textLength, config.textDim], 1),
    timestep: [500],
    ...(config.ofsDim ? { ofs: [2] } : {}),
  };
  const engine = new Engine();
  const loaded = [];
  for (const precision of measured) {
    const set = await weightsIn(precision, weights, { cache });
    const denoiser = new Denoiser(engine, config, set, { ...latents, batch: 1, textLength });
    await engine.trim();
    const before = readMemory().anonymous;
    const velocity = (await denoiser.predict(inputs)).data as Float32Array;
    await engine.trim();
    const held = readMemory().anonymous - before;
    const blocks = [...set.tensors.values()].filter(({ name }) => name.startsWith("transformer_blocks"));
    const bytes = blocks.reduce((sum, { byteLength }) => sum + byteLength, 0);
    loaded.push({ precision, denoiser, velocity, held, bytes, seconds: Number.POSITIVE_INFINITY });
  }
  for (let run = 0; run < runs; run++)
    for (const each of loaded) {
      const start = performance.now();
      await each.denoiser.predict(inputs);
      each.seconds = Math.min(each.seconds, (performance.now() - start) / 1000);
    }
  for (const { denoiser } of loaded) await denoiser.close();
  await engine.close();
  const [exact] = loaded;
  return loaded.map(({ precision, velocity, held, bytes, seconds }) => ({
    checkpoint: positionals.length === 0 ? "random 2B" : basename(folder),
    precision,
    velocityError: Number(relativeError(velocity, exact.velocity).toPrecision(3)),
    clipPsnr: psnr?.get(precision) ?? null,
    weightMiB: Number((bytes / 2 ** 20).toPrecision(4)),
    heldMiB: mebibytes(held),
    seconds: Number(seconds.toPrecision(3)),
    speed: Number((exact.seconds / seconds).toPrecision(3)),
  }));
}

/** PSNR of a clip in every precision against fp32. */
async function clips(folder: string): Promise<ReadonlyMap<Precision, number>> {
  const result = new Map<Precision, number>();
  let exact: Float32Array | undefined;
  for (const precision of measured) {
    const pipeline = await loadPipeline(folder, { precision, quantizing: { cache } });
    const frames: number[] = [];
    const options = { prompt: "a red circle moves left", steps: 8, seed: 1, frames: 9 };
    for await (const event of textToVideo(pipeline, options))
      if (event.kind === "frames") for (const value of event.frames.data as Float32Array) frames.push(value);
    await pipeline.close();
    const clip = Float32Array.from(frames);
    exact ??= clip;
    const mse = clip.reduce((sum, value, i) => sum + (value - exact![i]) ** 2, 0) / clip.length;
    if (mse > 0) result.set(precision, Number((-10 * Math.log10(mse)).toFixed(1)));
  }
  return result;
}

function relativeError(values: Float32Array, exact: Float32Array): number {
  const error = values.reduce((sum, value, i) => sum + (value - exact[i]) ** 2, 0);
  return Math.sqrt(error / exact.reduce((sum, value) => sum + value ** 2, 0));
}

function normals(shape: readonly number[], seed: number): HostTensor {
  const count = shape.reduce((product, length) => product * length, 1);
  return { dtype: "f32", shape, data: drawNormals(createRng(seed), count) };
}

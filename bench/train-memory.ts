/**
 * @file Measures the memory of training blocks of CogVideoX-2B's width, as one graph and with recompute by segment.
 *
 *     tsx bench/train-memory.ts [whole|recompute|collected|linked [LAYERS]]
 *
 * `whole` and `recompute` train adapters of rank 16 on attention, over weights that are mapped; `collected` and `linked`
 * train all weights with recompute, the first with clipping, which needs all gradients, the second link by link.
 */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { mebibytes } from "../src/cli/numbers.ts";
import { noiseSchedule, parseSchedulerConfig } from "../src/diffusion/schedule.ts";
import { type AdapterLayer, adaptSegment, type GraphAdapter, withAdapters } from "../src/graph/adapters.ts";
import { type Shape, sizeOf } from "../src/graph/shape.ts";
import { parseTransformerConfig } from "../src/models/transformer/config.ts";
import { Engine, type Value } from "../src/runtime/engine.ts";
import { type MappedWeights, mapWeights } from "../src/runtime/mapped-weights.ts";
import { readMemory, watchAnonymous } from "../src/runtime/memory.ts";
import { Learner } from "../src/train/learner.ts";
import { defaultAdamW } from "../src/train/optimiser/adamw.ts";
import { segmentedGraph } from "../src/train/recompute/segmented-graph.ts";
import { SegmentedLoss } from "../src/train/recompute/segmented-loss.ts";
import { segmentedTextToVideo } from "../src/train/recompute/text-to-video.ts";
import { textToVideoFeeds, textToVideoGraph } from "../src/train/tasks/text-to-video.ts";
import { openWeights } from "../src/weights/checkpoint.ts";
import { writeSafetensors } from "../src/weights/write.ts";

const modes = ["whole", "recompute", "collected", "linked"] as const;
type Mode = (typeof modes)[number];

const settings = { adamW: defaultAdamW, clip: 1, average: false };
const [mode, layers, weights] = process.argv.slice(2);
if (weights === undefined) await measureAll(mode);
else await measure(mode as Mode, Number(layers), weights);

/** Every mode and depth in a process of its own, so that the memory of one does not count for the next. */
async function measureAll(only: string | undefined): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "cogvideox-train-memory-"));
  try {
    await writeWeights(folder);
    const results: unknown[] = [];
    for (const depth of layers === undefined ? [2, 4, 8] : [Number(layers)])
      for (const each of modes)
        if (only === undefined || only === each)
          results.push(JSON.parse(await output([each, String(depth), folder])));
    process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function output(call: readonly string[]): Promise<string> {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), ...call];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on("close", (status) => {
      if (status === 0) resolve(text);
      else reject(new Error(`${call.join(" ")} ended with status ${status}`));
    });
  });
}

async function measure(mode: Mode, layers: number, folder: string): Promise<void> {
  const task = taskOf(layers);
  const engine = new Engine();
  await engine.trim();
  const idle = readMemory().anonymous;
  const watch = watchAnonymous();
  const start = performance.now();
  if (mode === "collected") await trainAll(engine, task, 1);
  else if (mode === "linked") await trainAll(engine, task, null);
  else if (mode === "whole") await trainWhole(engine, task, await mappedWeights(folder));
  else await trainRecomputing(engine, task, await mappedWeights(folder));
  const seconds = (performance.now() - start) / 1000;
  const peakAnonMiB = mebibytes(watch.stop());
  const result = { mode, layers, tokens: 1056, peakAnonMiB, idleAnonMiB: mebibytes(idle), seconds };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  await engine.close();
}

type Task = ReturnType<typeof taskOf>;

/** One sample of 4 x 16 x 16 video tokens and 32 text tokens. */
function taskOf(layers: number) {
  const config = parseTransformerConfig(
    {
      num_attention_heads: 30,
      attention_head_dim: 64,
      num_layers: layers,
      text_embed_dim: 256,
      sample_width: 32,
      sample_height: 32,
      sample_frames: 13,
      max_text_seq_length: 32,
      use_rotary_positional_embeddings: true,
    },
    "train-memory",
  );
  const whole = textToVideoGraph(
    config,
    { batch: 1, frames: 4, height: 32, width: 32, textLength: 32 },
    null,
  );
  const shapes = new Map([...whole.graph.params].map(([key, { shape }]) => [key, shape]));
  const scheduler = parseSchedulerConfig({ _class_name: "CogVideoXDDIMScheduler" }, "train-memory");
  const feeds = textToVideoFeeds(whole, noiseSchedule(scheduler), {
    latents: [spread([4, 16, 32, 32], 2)],
    text: [spread([32, 256], 2)],
    timesteps: [500],
    noise: { seed: 1, step: 1, part: 0 },
  });
  return { layers, whole, shapes, feeds };
}

/** Weights of one block, and of what is around it. */
async function writeWeights(folder: string): Promise<void> {
  const tensors = [...taskOf(1).shapes].map(([key, shape]) => [
    key,
    { dtype: "F32" as const, shape, data: start(key, shape) },
  ]);
  await writeSafetensors(join(folder, "diffusion_pytorch_model.safetensors"), Object.fromEntries(tensors));
}

/** Every block reads the first one's weights: what is mapped does not count, and the disk holds one block. */
async function mappedWeights(folder: string): Promise<MappedWeights> {
  const { folder: base, storage } = mapWeights(await openWeights(folder), taskOf(1).shapes);
  return { folder: base, storage: (key) => storage(firstBlock(key)) };
}

function firstBlock(key: string): string {
  return key.replace(/blocks\.\d+\./, "blocks.0.");
}

async function trainWhole(
  engine: Engine,
  { layers, whole, feeds }: Task,
  frozen: MappedWeights,
): Promise<void> {
  const blocks = Array.from({ length: layers }, (_, i) => `transformer.transformer_blocks.${i}.`);
  const { loss, report, params } = whole.graph;
  const adapted = withAdapters({ loss, ...report }, [adapterOf(blocks)]);
  const trained = adapted.params;
  const graph = {
    name: "whole",
    loss: adapted.outputs.loss,
    report: {},
    params: new Map([...params, ...trained]),
    frozen,
  };
  const learner = await Learner.start([engine], adapterWeights(trained), settings);
  for (const step of [1, 2]) await learner.step(step, 1e-4, [{ graph, feeds }]);
}

async function trainRecomputing(
  engine: Engine,
  { whole, feeds }: Task,
  frozen: MappedWeights,
): Promise<void> {
  const chain = segmentedTextToVideo(whole, null, frozen);
  const [, block] = chain.links;
  const segment = adaptSegment(block.segment, [adapterOf([""])]);
  const links = chain.links.map((link) => (link.segment === block.segment ? { ...link, segment } : link));
  const adapted = segmentedGraph("recompute", links, frozen);
  const isTrained = (key: string) => key.includes("lora_");
  const trained = new Map([...adapted.params].filter(([key]) => isTrained(key)));
  const weights = new Map<string, Value>();
  for (const [key, tensor] of adapterWeights(trained))
    weights.set(key, await engine.upload({ dtype: "f32", ...tensor }));
  const loss = new SegmentedLoss(engine, adapted, { isTrained });
  for (let step = 1; step <= 2; step++) {
    const { gradients } = await loss.differentiate({ feeds, weights });
    await engine.free(...gradients.values());
  }
}

async function trainAll(engine: Engine, { whole, shapes, feeds }: Task, clip: number | null): Promise<void> {
  const graph = { ...whole.graph, chain: segmentedTextToVideo(whole, null) };
  const tensors = startingTensors(shapes);
  const learner = await Learner.restore([engine], tensors, { ...settings, clip });
  tensors.clear();
  await engine.trim();
  for (const step of [1, 2]) await learner.step(step, 1e-4, [{ graph, feeds }]);
}

/** Weights and moments; those of one shape share an array here, and have one each with the engine. */
function startingTensors(shapes: ReadonlyMap<string, Shape>) {
  const tensors = new Map<string, { shape: Shape; data: Float32Array }>();
  const zeros = new Map<number, Float32Array>();
  for (const [key, shape] of shapes) {
    const size = sizeOf(shape);
    zeros.set(size, zeros.get(size) ?? new Float32Array(size));
    const first = tensors.get(`weight/${firstBlock(key)}`);
    tensors.set(`weight/${key}`, first ?? { shape, data: start(key, shape) });
    for (const role of ["mean", "square"]) tensors.set(`${role}/${key}`, { shape, data: zeros.get(size)! });
  }
  return tensors;
}

function adapterOf(blocks: readonly string[]): GraphAdapter {
  const names = ["to_q", "to_k", "to_v", "to_out.0"];
  const layers = blocks.flatMap((block) => names.map((name) => `${block}attn1.${name}`));
  return { layers: new Map(layers.map((layer): [string, AdapterLayer] => [layer, { rank: 16, scale: 1 }])) };
}

function adapterWeights(params: ReadonlyMap<string, { readonly shape: Shape }>) {
  return new Map([...params].map(([key, { shape }]) => [key, { shape, data: spread(shape, 0.05) }]));
}

function start(key: string, shape: Shape): Float32Array {
  if (shape.length > 1) return spread(shape, 0.05);
  return new Float32Array(sizeOf(shape)).fill(key.endsWith(".weight") ? 1 : 0);
}

/** Numbers between -width / 2 and width / 2; memory does not depend on the values. */
function spread(shape: Shape, width: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length: sizeOf(shape) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32 - 0.5) * width;
  });
}

/**
 * @file Times a training step of a small transformer or of nano's, forward, backward and AdamW, in turns with PyTorch's if
 * told where.
 *
 *     tsx bench/train-step.ts [small|nano] [--python PYTHON] [--steps N] [--engines N]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { mebibytes } from "../src/cli/numbers.ts";
import { noiseSchedule, parseSchedulerConfig } from "../src/diffusion/schedule.ts";
import { sizeOf } from "../src/graph/shape.ts";
import { parseTransformerConfig } from "../src/models/transformer/config.ts";
import { Engine } from "../src/runtime/engine.ts";
import { readMemory, watchAnonymous } from "../src/runtime/memory.ts";
import { Learner, type MicroBatch } from "../src/train/learner.ts";
import { defaultAdamW } from "../src/train/optimiser/adamw.ts";
import { textToVideoFeeds, textToVideoGraph } from "../src/train/tasks/text-to-video.ts";

/** What is trained; bench/train_step_reference.py is handed the same. */
const workloads = {
  /** 4 x 8 x 8 = 256 video tokens and 32 text tokens a clip. */
  small: {
    transformer: {
      num_attention_heads: 4,
      attention_head_dim: 64,
      num_layers: 4,
      text_embed_dim: 256,
      sample_width: 16,
      sample_height: 16,
      sample_frames: 13,
      max_text_seq_length: 32,
      use_rotary_positional_embeddings: true,
    },
    clips: 8,
    size: { frames: 4, height: 16, width: 16, textLength: 32 },
  },
  /** The transformer that ships, in a step of its recipe: 5 x 4 x 4 = 80 video tokens and 24 text tokens a clip. */
  nano: {
    transformer: JSON.parse(
      readFileSync(new URL("../models/nano/transformer/config.json", import.meta.url), "utf8"),
    ),
    clips: 48,
    size: { frames: 5, height: 8, width: 8, textLength: 24 },
  },
};
const threads = 2;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string" },
    steps: { type: "string", default: "5" },
    engines: { type: "string", default: "1" },
  },
});
const steps = Number(options.steps);
const engineCount = Number(options.engines);
const named = positionals[0] ?? "small";
if (!(named in workloads))
  throw new Error(`${named} is no workload; there are ${Object.keys(workloads).join(" and ")}`);
const workload = workloads[named as keyof typeof workloads];
const { clips, size } = workload;
const config = parseTransformerConfig(workload.transformer, named);

const engines = Array.from({ length: engineCount }, () => new Engine({ threads: threads / engineCount }));
const idle = readMemory().anonymous;
const anonymous = watchAnonymous();
const batches = microBatches();
const learner = await Learner.start([engines[0], ...engines.slice(1)], startingWeights(), {
  adamW: defaultAdamW,
  clip: 1,
  average: false,
});
const reference = options.python ? startReference(options.python) : null;
const ours: number[] = [];
const theirs: number[] = [];
// The first step of either side makes sessions and caches.
for (let step = 1; step <= steps + 1; step++) {
  const start = performance.now();
  await learner.step(step, 1e-4, batches);
  const seconds = (performance.now() - start) / 1000;
  const other = await reference?.step();
  if (step === 1) continue;
  ours.push(seconds);
  if (other !== undefined) theirs.push(other);
}
process.stdout.write(
  `${JSON.stringify({
    what: `training step, ${clips} clips x ${videoTokens()} tokens, width ${config.width}, ${config.layers} layers`,
    threads,
    engines: engineCount,
    parameters: learner.size,
    steps,
    seconds: median(ours),
    peakRssMiB: mebibytes(readMemory().peak),
    peakAnonMiB: mebibytes(anonymous.stop()),
    idleAnonMiB: mebibytes(idle),
    ...(reference
      ? {
          referenceSeconds: median(theirs),
          // Of steps next to each other, so that a load that comes and goes is in both.
          ratio: median(theirs.map((seconds, i) => seconds / ours[i])),
          referencePeakRssMiB: await reference.close(),
        }
      : {}),
  })}\n`,
);
await learner.close();
for (const engine of engines) await engine.close();

function videoTokens(): number {
  return (size.frames * size.height * size.width) / config.patch ** 2;
}

function microBatches(): MicroBatch[] {
  const batch = clips / engineCount;
  const built = textToVideoGraph(config, { batch, ...size }, null);
  const scheduler = parseSchedulerConfig({ _class_name: "CogVideoXDDIMScheduler" }, "train-step");
  return engines.map((_, part) => ({
    graph: built.graph,
    feeds: textToVideoFeeds(built, noiseSchedule(scheduler), {
      latents: Array.from({ length: batch }, () =>
        spread(size.frames * config.outChannels * size.height * size.width, 2),
      ),
      text: Array.from({ length: batch }, () => spread(size.textLength * config.textDim, 2)),
      timesteps: Array.from({ length: batch }, (_, i) => (i * 331 + part * 170) % 1000),
      noise: { seed: 1, step: 1, part },
    }),
  }));
}

function startingWeights() {
  const { graph } = textToVideoGraph(config, { batch: 1, ...size }, null);
  return new Map(
    [...graph.params].map(([key, { shape }]) => {
      const count = sizeOf(shape);
      const data = shape.length > 1 ? spread(count, 0.1) : new Float32Array(count);
      return [key, { shape, data: /norm.*weight$/.test(key) && shape.length === 1 ? data.fill(1) : data }];
    }),
  );
}

/** Uniform numbers between -width / 2 and width / 2; time does not depend on the values. */
function spread(count: number, width: number): Float32Array {
  return Float32Array.from({ length: count }, () => (Math.random() - 0.5) * width);
}

/** The script beside this file, which does one step for every line it is sent. */
function startReference(python: string) {
  const script = fileURLToPath(new URL("./train_step_reference.py", import.meta.url));
  const child: ChildProcess = spawn(python, [script, JSON.stringify({ ...workload, threads })], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const next = async () => Number((await lines.next()).value);
  return {
    step: async () => {
      child.stdin!.write("step\n");
      return next();
    },
    /** Ends it and gives its peak memory in MiB. */
    close: async () => {
      const ended = once(child, "close");
      child.stdin!.end();
      const peak = await next();
      await ended;
      return peak;
    },
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

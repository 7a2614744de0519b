/**
 * @file What feature caches leave of a model's clips, and how many evaluations of blocks they take: JSON, a line for each.
 *
 *     tsx bench/caches.ts [DIR] [--prompts N] [--steps N] [--guidance X] [--cache CACHE]...
 *
 * A CACHE is what `generate --cache` takes, such as `teacache:0.2`. MagCache needs `cogvideox calibrate --model DIR`
 * before, and TeaCache does of models that are not official.
 */
import { parseArgs } from "node:util";
import { heldOutScenes, shapesOf } from "../scripts/recipe-scenes.ts";
import { parseCache } from "../src/cli/cache-option.ts";
import { captionOf } from "../src/data/shapes/caption.ts";
import type { CacheOptions } from "../src/pipeline/caches/caches.ts";
import { loadPipeline, type Pipeline } from "../src/pipeline/pipeline.ts";
import { textToVideo } from "../src/pipeline/text-to-video.ts";
import { joinFloats } from "../src/train/tasks/text-to-video.ts";
import { psnr } from "../src/train/vae/metrics.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompts: { type: "string", default: "6" },
    steps: { type: "string", default: "50" },
    guidance: { type: "string" },
    cache: {
      type: "string",
      multiple: true,
      default: ["teacache", "first-block", "dbcache", "pab", "fastercache", "taylorseer"],
    },
  },
});
const [steps, count] = [values.steps, values.prompts].map(Number);
const sceneAt = heldOutScenes(shapesOf("recipes/nano.yaml"), 2024);
const prompts = Array.from({ length: count }, (_, index) =>
  captionOf(sceneAt(index), { seed: 5, index, length: "short" }),
);
const pipeline = await loadPipeline(positionals[0]);
const guidance = Number(values.guidance ?? pipeline.checkpoint.transformer.config.guidance ?? 6);
const plain = await clipsWith(pipeline, undefined);
for (const cache of values.cache) {
  const cached = await clipsWith(pipeline, parseCache(cache));
  const quality = cached.clips.map((clip, i) => psnr(stackOf(clip), stackOf(plain.clips[i])));
  console.log(
    JSON.stringify({
      cache,
      prompts: count,
      steps,
      guidance,
      blocks: cached.blocks,
      ofBlocks: cached.ofBlocks,
      fewer: rounded(cached.ofBlocks / cached.blocks),
      psnr: rounded(quality.reduce((sum, value) => sum + value, 0) / count),
      worstPsnr: rounded(Math.min(...quality)),
      faster: rounded(plain.seconds / cached.seconds),
    }),
  );
}
await pipeline.close();

type Clip = { readonly data: Float32Array; readonly shape: readonly number[] };

/** The clips of all prompts, with the evaluations of blocks that they took and would take without a cache. */
async function clipsWith(model: Pipeline, cache: CacheOptions | undefined) {
  const clips: Clip[] = [];
  let [blocks, ofBlocks] = [0, 0];
  const start = performance.now();
  for (const [seed, prompt] of prompts.entries()) {
    const parts: Clip[] = [];
    for await (const event of textToVideo(model, { prompt, seed, steps, guidance, cache })) {
      if (event.kind === "frames")
        parts.push({ data: event.frames.data as Float32Array, shape: event.frames.shape });
      if (event.kind === "done" && event.evaluations) {
        const { done, skipped } = event.evaluations.blocks;
        blocks += done;
        ofBlocks += done + skipped;
      }
    }
    clips.push(joined(parts));
  }
  return { clips, blocks, ofBlocks, seconds: (performance.now() - start) / 1000 };
}

/** Chunks of frames `[T, H, W, 3]` as one. */
function joined(parts: readonly Clip[]): Clip {
  const data = joinFloats(parts.map((part) => part.data));
  const frames = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  return { data, shape: parts[0].shape.with(0, frames) };
}

function stackOf({ data, shape }: Clip) {
  const [frames, height, width, channels] = shape;
  return {
    data,
    shape: [frames, height, width, channels] as const,
    layout: "interleaved" as const,
    range: 1,
  };
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

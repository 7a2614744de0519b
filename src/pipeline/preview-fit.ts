/** @file Fits the preview map of a checkpoint's VAE, once: it is kept in the user's cache. */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { z } from "zod";
import { createRng, drawNormals } from "../diffusion/noise.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { SPATIAL_RATIO } from "./clip-size.ts";
import { encodePixels, scaledBy } from "./encode.ts";
import type { Pipeline } from "./pipeline.ts";
import { fitLatentRgb, type LatentRgb } from "./preview.ts";
import type { RunHooks } from "./run-hooks.ts";
import { keep, readKept } from "./user-cache.ts";
import { VideoDecoder } from "./video-decoder.ts";

const stored = z.object({
  weights: z.array(z.array(z.number())).length(3),
  bias: z.array(z.number()).length(3),
  r2: z.number(),
  samples: z.number(),
});

/** Side in pixels of the picture to fit on, and the patches of colour on it. */
const SIDE = 192;
const PATCHES = 64;

/**
 * The preview map of a checkpoint: from the user's cache, or fitted now and kept there, which takes one encode and one
 * decode of a picture of 192 x 192. @throws WeightsError for a VAE that does not fit, SessionError, CancelledError
 */
export async function previewMap(pipeline: Pipeline, hooks: RunHooks = {}): Promise<LatentRgb> {
  const name = `preview-${await keyOf(pipeline.checkpoint)}.json`;
  const { latentChannels } = pipeline.checkpoint.vae.config;
  const known = await readKept(name, stored);
  if (known?.weights.every((row) => row.length === latentChannels)) return known;
  const map = await fitPreview(pipeline, hooks);
  await keep(name, map);
  return map;
}

/** Fits on a drawn picture that went through the VAE: its latents, and what these decode to. */
export async function fitPreview({ engine, checkpoint }: Pipeline, hooks: RunHooks = {}): Promise<LatentRgb> {
  const { config, weights } = checkpoint.vae;
  const encoded = await encodePixels(engine, checkpoint, drawnPicture(), hooks);
  const decoder = new VideoDecoder(engine, config, weights);
  let colours: HostTensor | null = null;
  for await (const pixels of decoder.decodeStream(encoded, hooks)) colours = pooled(pixels);
  return fitLatentRgb(scaledBy(encoded, config.scalingFactor), colours!);
}

/** Overlapping soft patches of random colours, `[1, 3, SIDE, SIDE]` in [-1, 1]; flat and steep places both. */
function drawnPicture(): HostTensor {
  const rng = createRng(1000);
  const data = new Float32Array(3 * SIDE * SIDE);
  for (let patch = 0; patch < PATCHES; patch++) {
    const draws = drawNormals(rng, 16);
    const [x, y] = [0, 1].map((k) => SIDE * (0.5 + 0.3 * draws[k]));
    const radius = SIDE * (0.04 + 0.08 * Math.abs(draws[2]));
    const steepness = 1 + 8 * Math.abs(draws[3]);
    for (let i = 0; i < SIDE * SIDE; i++) {
      const distance = Math.hypot((i % SIDE) - x, Math.floor(i / SIDE) - y) / radius;
      const cover = 1 / (1 + Math.exp(steepness * (distance - 1)));
      for (let c = 0; c < 3; c++) {
        const at = c * SIDE * SIDE + i;
        data[at] += cover * (Math.tanh(draws[4 + c]) - data[at]);
      }
    }
  }
  return { dtype: "f32", shape: [1, 3, SIDE, SIDE], data };
}

/** Means over the pixels of every latent: `[T, 3, H, W]` to `[T, 3, H / 8, W / 8]`. */
function pooled({ shape: [frames, channels, height, width], data }: HostTensor): HostTensor {
  const [h, w] = [height / SPATIAL_RATIO, width / SPATIAL_RATIO];
  const means = new Float32Array(frames * channels * h * w);
  for (let i = 0; i < data.length; i++) {
    const [plane, y, x] = [Math.floor(i / (height * width)), Math.floor(i / width) % height, i % width];
    const place = (plane * h + Math.floor(y / SPATIAL_RATIO)) * w + Math.floor(x / SPATIAL_RATIO);
    means[place] += (data as Float32Array)[i] / SPATIAL_RATIO ** 2;
  }
  return { dtype: "f32", shape: [frames, channels, h, w], data: means };
}

/** Tells VAEs apart by their configuration and by the names, sizes and times of their files. */
async function keyOf({ vae: { config, weights } }: Checkpoint): Promise<string> {
  const files = [...new Set(weights.realPaths.values())].sort();
  const stats = await Promise.all(files.map((file) => stat(file)));
  const facts = files.map((file, i) => [basename(file), stats[i].size, stats[i].mtimeMs]);
  return createHash("sha256")
    .update(JSON.stringify([config, facts]))
    .digest("hex")
    .slice(0, 32);
}

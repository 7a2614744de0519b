/**
 * @file PSNR, SSIM and flicker of a checkpoint's VAE on held-out shapes, as JSON.
 *
 *     npx tsx scripts/vae-report.ts [DIR] [--clips N] [--frames N] [--patterned P]
 */
import { parseArgs } from "node:util";
import { renderScene } from "../src/data/shapes/render.ts";
import { drawScene } from "../src/data/shapes/scene.ts";
import { parseVaeConfig } from "../src/models/vae/config.ts";
import { openComponent } from "../src/pipeline/checkpoint.ts";
import { VideoDecoder } from "../src/pipeline/video-decoder.ts";
import { VideoEncoder } from "../src/pipeline/video-encoder.ts";
import { Engine } from "../src/runtime/engine.ts";
import type { HostTensor } from "../src/runtime/protocol.ts";
import { planar } from "../src/train/recipe/clips.ts";
import {
  type FrameStack,
  type ReconstructionReport,
  reportReconstruction,
} from "../src/train/vae/metrics.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clips: { type: "string", default: "32" },
    frames: { type: "string", default: "17" },
    patterned: { type: "string", default: "0.2" },
    twoObjects: { type: "string", default: "0.15" },
    camera: { type: "string", default: "0.05" },
  },
});
const [count, frames] = [Number(values.clips), Number(values.frames)];
const draw = {
  patterned: Number(values.patterned),
  twoObjects: Number(values.twoObjects),
  camera: Number(values.camera),
};
const size = 64;
const engine = new Engine({ threads: 2 });
const { config, weights } = await openComponent(positionals[0] ?? "models/nano", "vae", parseVaeConfig);
const encoder = new VideoEncoder(engine, config, weights);
const decoder = new VideoDecoder(engine, config, weights);
const reports: ReconstructionReport[] = [];
for (let index = 0; index < count; index++) {
  const scene = drawScene({ seed: 99, index, split: "held-out", ...draw });
  const source = planar(renderScene(scene, { width: size, height: size, frames }), size);
  const clip: HostTensor = { dtype: "f32", shape: [frames, 3, size, size], data: source };
  const means = await collect(encoder.encodeStream(clip), ({ shape, data }) => {
    const [n, channels, height, width] = shape;
    const half = (channels / 2) * height * width;
    return Array.from({ length: n }, (_, f) =>
      (data as Float32Array).slice(2 * f * half, (2 * f + 1) * half),
    );
  });
  const latents: HostTensor = {
    dtype: "f32",
    shape: [means.length, config.latentChannels, size / 8, size / 8],
    data: joined(means),
  };
  const pixels = joined(await collect(decoder.decodeStream(latents), ({ data }) => [data as Float32Array]));
  const stack = (data: Float32Array): FrameStack => ({
    data: data.map((x) => Math.min(1, Math.max(-1, x))),
    shape: [frames, 3, size, size],
    layout: "planar",
    range: 2,
  });
  reports.push(reportReconstruction(stack(source), stack(pixels)));
}
await engine.close();
const mean = (key: keyof (typeof reports)[number]) =>
  reports.reduce((sum, each) => sum + each[key], 0) / reports.length;
const names = Object.keys(reports[0]) as (keyof (typeof reports)[number])[];
console.log(
  JSON.stringify({
    clips: count,
    frames,
    ...draw,
    ...Object.fromEntries(names.map((name) => [name, Number(mean(name).toFixed(4))])),
    worstPsnr: Number(Math.min(...reports.map(({ psnr }) => psnr)).toFixed(2)),
  }),
);

async function collect<T>(
  stream: AsyncIterable<HostTensor>,
  parts: (chunk: HostTensor) => T[],
): Promise<T[]> {
  const found: T[] = [];
  for await (const chunk of stream) found.push(...parts(chunk));
  return found;
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/**
 * @file Decodes a long clip of random latents into a file as it comes, and prints time and memory as one line of JSON.
 *
 *     tsx bench/large-decode.ts [DIR] [--width N] [--height N] [--frames N] [--whole] [--output FILE]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { mebibytes } from "../src/cli/numbers.ts";
import { createRng, drawNormals } from "../src/diffusion/noise.ts";
import { sizeOf } from "../src/graph/shape.ts";
import { signedToRgb } from "../src/media/frames.ts";
import { createVideoWriter } from "../src/media/write.ts";
import { parseVaeConfig } from "../src/models/vae/config.ts";
import { openComponent } from "../src/pipeline/checkpoint.ts";
import { VideoDecoder } from "../src/pipeline/video-decoder.ts";
import { Engine } from "../src/runtime/engine.ts";
import { readMemory, resetPeak, watchAnonymous } from "../src/runtime/memory.ts";

/** The tiles of the released checkpoints, whatever size this one was trained at. */
const OFFICIAL_TILE = { tileHeight: 240, tileWidth: 360 };

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    width: { type: "string", default: "1360" },
    height: { type: "string", default: "768" },
    frames: { type: "string", default: "161" },
    /** One tile, as large as the frame. */
    whole: { type: "boolean", default: false },
    output: { type: "string" },
  },
});
const [width, height, frames] = [options.width, options.height, options.frames].map(Number);

const engine = new Engine({ threads: 2 });
const { config, weights } = await openComponent(positionals[0] ?? "models/nano", "vae", parseVaeConfig);
const ratio = 2 ** (config.channels.length - 1);
const latentFrames = (frames - 1) / 2 ** config.temporalLevels + 1;
const shape = [latentFrames, config.latentChannels, height / ratio, width / ratio];
const data = drawNormals(createRng(0), sizeOf(shape));
const tiling = options.whole ? false : OFFICIAL_TILE;
const decoder = new VideoDecoder(engine, config, weights, { tiling });

const folder = await mkdtemp(join(tmpdir(), "cogvideox-decode-"));
const video = await createVideoWriter(options.output ?? join(folder, "clip.mp4"), { width, height, fps: 16 });
resetPeak();
const before = readMemory().anonymous;
const anonymous = watchAnonymous();
const start = performance.now();
let first: number | null = null;
let written = 0;
for await (const chunk of decoder.decodeStream({ dtype: "f32", shape, data })) {
  first ??= secondsSince(start);
  for (const frame of signedToRgb(chunk.data as Float32Array, { height, width })) await video.write(frame);
  written += chunk.shape[0];
}
await video.finish();
const seconds = secondsSince(start);
await engine.close();
await rm(folder, { recursive: true });

console.log(
  JSON.stringify({
    what: `decode ${written} frames of ${width}x${height} from random latents${options.whole ? "" : ", tiled"}`,
    seconds: Math.round(seconds * 10) / 10,
    secondsToFirstFrames: Math.round(first! * 10) / 10,
    framesPerSecond: Math.round((100 * written) / seconds) / 100,
    anonymousBeforeMiB: mebibytes(before),
    peakAnonymousMiB: mebibytes(anonymous.stop()),
    clipAsFloat32MiB: mebibytes(4 * 3 * written * width * height),
  }),
);

function secondsSince(moment: number): number {
  return (performance.now() - moment) / 1000;
}

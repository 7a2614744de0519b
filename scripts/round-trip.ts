/**
 * @file Sends a video through a checkpoint's VAE and back into a file, and prints what is left of it as one line of JSON.
 *
 *     npx tsx scripts/round-trip.ts INPUT OUTPUT [--model DIR] [--width N] [--height N] [--frames N]
 */
import { parseArgs } from "node:util";
import { fitImage } from "../src/media/fit.ts";
import { rgbToSigned, signedToRgb } from "../src/media/frames.ts";
import { readClip } from "../src/media/pictures.ts";
import { createVideoWriter } from "../src/media/write.ts";
import { Engine } from "../src/runtime/engine.ts";
import { joinFloats } from "../src/train/tasks/text-to-video.ts";
import { reportReconstruction } from "../src/train/vae/metrics.ts";
import { reconstructor, stackOf } from "./reconstruction.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: "models/nano" },
    width: { type: "string", default: "256" },
    height: { type: "string", default: "256" },
    frames: { type: "string", default: "17" },
  },
});
const [input, output] = positionals;
const [width, height, atMost] = [values.width, values.height, values.frames].map(Number);
const source: Float32Array[] = [];
for await (const picture of readClip(input)) {
  const { rgb } = fitImage(picture, { width, height }, "crop");
  source.push(rgbToSigned(rgb, { height, width }));
  if (source.length === atMost) break;
}
const shape = [source.length, 3, height, width] as const;
const data = joinFloats(source);
const engine = new Engine({ threads: 2 });
const reconstruct = await reconstructor(engine, values.model);
const back = await reconstruct({ dtype: "f32", shape, data });
await engine.close();

const video = await createVideoWriter(output, { width, height, fps: 8 });
for (const frame of signedToRgb(back, { height, width })) await video.write(frame);
await video.finish();
const report = reportReconstruction(stackOf(data, shape), stackOf(back, shape));
console.log(
  JSON.stringify({ input, output, model: values.model, frames: source.length, width, height, ...report }),
);

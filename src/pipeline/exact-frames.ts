/** @file Frames in a safetensors file, as --save-frames writes them: a clip from outside without a codec's losses. */
import { ConfigError } from "../errors.ts";
import { showShape, sizeOf } from "../graph/shape.ts";
import { interleavedToRgb, type PixelSize, type RgbImage } from "../media/frames.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { showNames } from "../weights/file.ts";
import { readFloats } from "../weights/read.ts";
import { readHeader, type StoredTensor } from "../weights/safetensors.ts";

/** Whether a source names such a file. */
export function namesExactFrames(source: unknown): source is string {
  return typeof source === "string" && /\.safetensors$/i.test(source);
}

/**
 * The tensor `frames [T, H, W, 3]` in [0, 1] of a file as pixels `[T, 3, H, W]` in [-1, 1], not rounded to 8 bits: as
 * many of the first as `counted` makes of those that there are.
 * @throws ConfigError for a file without such frames, or with frames of another size; WeightsError for a bad file
 */
export async function readExactFrames(
  file: string,
  { width, height }: PixelSize,
  counted: (available: number) => number,
): Promise<HostTensor> {
  const stored = await storedFrames(file);
  const [count, high, wide] = stored.shape;
  if (wide !== width || high !== height)
    throw new ConfigError(
      `the frames in ${file} are ${wide}x${high}, and the clip is ${width}x${height}; frames of a safetensors file are ` +
        `not fitted, so make the clip ${wide}x${high} (--width, --height) or give a video`,
    );
  const used = counted(count);
  return signed(await shownValues(stored), [used, high, wide]);
}

/**
 * The frames of such a file one at a time, rounded to 8 bits, for what reads pictures of any size.
 * @throws ConfigError for a file without such frames; WeightsError for a bad file
 */
export async function* readRoundedFrames(file: string): AsyncGenerator<RgbImage> {
  const stored = await storedFrames(file);
  const [, height, width] = stored.shape;
  const values = await shownValues(stored);
  const frame = 3 * width * height;
  for (let start = 0; start < values.length; start += frame) {
    const rgb = interleavedToRgb(values.subarray(start, start + frame), { frames: 1, width, height });
    yield { rgb, width, height };
  }
}

async function storedFrames(file: string): Promise<StoredTensor> {
  const { tensors } = await readHeader(file);
  const stored = tensors.get("frames");
  if (stored === undefined)
    throw new ConfigError(
      `${file} holds no tensor named frames, but ${showNames(tensors.keys())}; --save-frames writes one`,
    );
  const { shape } = stored;
  if (shape.length !== 4 || shape.slice(0, 3).some((side) => side < 1) || shape[3] !== 3)
    throw new ConfigError(`frames in ${file} must be [T, H, W, 3], got ${showShape(shape)}`);
  return stored;
}

async function shownValues(stored: StoredTensor): Promise<Float32Array> {
  const values = await readFloats(stored);
  const odd = values.find((value) => !(value >= 0 && value <= 1));
  if (odd !== undefined) throw new ConfigError(`frames in ${stored.file} must lie in 0 to 1, got ${odd}`);
  return values;
}

function signed(values: Float32Array, [count, height, width]: readonly number[]): HostTensor {
  const shape = [count, 3, height, width];
  const plane = height * width;
  const data = new Float32Array(sizeOf(shape));
  for (let t = 0; t < count; t++)
    for (let i = 0; i < plane; i++)
      for (let c = 0; c < 3; c++) data[(t * 3 + c) * plane + i] = 2 * values[(t * plane + i) * 3 + c] - 1;
  return { dtype: "f32", shape, data };
}

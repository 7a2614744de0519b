/** @file Clips on the host in the two layouts that models use, [B, C, T, H, W] and frames first [T, C, H, W]. */
import { sizeOf } from "../graph/shape.ts";
import type { HostTensor } from "../runtime/protocol.ts";

type Rectangle = {
  readonly top: number;
  readonly left: number;
  readonly bottom: number;
  readonly right: number;
};

/** Every sample of `[B, ...]` as a view of its own, `[...]`. */
export function samplesOf({ shape: [batch, ...rest], data }: HostTensor): HostTensor[] {
  const size = sizeOf(rest);
  return Array.from({ length: batch }, (_, i) => ({
    dtype: "f32",
    shape: rest,
    data: data.subarray(i * size, (i + 1) * size),
  }));
}

/** Samples of one shape as one tensor with a batch axis. */
export function stackSamples(samples: readonly HostTensor[]): HostTensor {
  const [{ shape }] = samples;
  const size = sizeOf(shape);
  const data = new Float32Array(samples.length * size);
  for (const [i, sample] of samples.entries()) data.set(sample.data as Float32Array, i * size);
  return { dtype: "f32", shape: [samples.length, ...shape], data };
}

/** `[C, T, H, W]` to `[T, C, H, W]`. */
export function framesFirst(clip: HostTensor): HostTensor {
  return swapPlanes(clip);
}

/** `[T, C, H, W]` to `[C, T, H, W]`. */
export function channelsFirst(clip: HostTensor): HostTensor {
  return swapPlanes(clip);
}

/** Parts `[Ti, ...]` of a clip one after the other, in any layout with frames first. */
export function joinFrames(parts: readonly HostTensor[]): HostTensor {
  const [, ...size] = parts[0].shape;
  const frames = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  const data = new Float32Array(frames * sizeOf(size));
  let at = 0;
  for (const part of parts) {
    data.set(part.data as Float32Array, at);
    at += part.data.length;
  }
  return { dtype: "f32", shape: [frames, ...size], data };
}

/** `[1, F, C, h, w]` with the channels of another clip of the same size behind its own; without one, as it is. */
export function joinChannels(first: HostTensor, second: HostTensor | undefined): HostTensor {
  if (second === undefined) return first;
  const [batch, frames, , height, width] = first.shape;
  const [own, more] = [first, second].map(({ shape: [, , channels] }) => channels * height * width);
  const data = new Float32Array(batch * frames * (own + more));
  for (let t = 0; t < batch * frames; t++) {
    data.set((first.data as Float32Array).subarray(t * own, (t + 1) * own), t * (own + more));
    data.set((second.data as Float32Array).subarray(t * more, (t + 1) * more), t * (own + more) + own);
  }
  const channels = first.shape[2] + second.shape[2];
  return { dtype: "f32", shape: [batch, frames, channels, height, width], data };
}

/** Frames `start` to `end` of `[T, C, H, W]`, as a copy that the engine may take over. */
export function sliceFrames(
  { shape: [, ...size], data }: HostTensor,
  start: number,
  end: number,
): HostTensor {
  const frame = sizeOf(size);
  return { dtype: "f32", shape: [end - start, ...size], data: data.slice(start * frame, end * frame) };
}

/** A rectangle of every frame of `[T, C, H, W]`. */
export function cropFrames({ shape, data }: HostTensor, { top, left, bottom, right }: Rectangle): HostTensor {
  const [frames, channels, height, width] = shape;
  const size = [frames, channels, bottom - top, right - left];
  const cropped = new Float32Array(sizeOf(size));
  let at = 0;
  for (let plane = 0; plane < frames * channels; plane++)
    for (let y = top; y < bottom; y++) {
      const line = (plane * height + y) * width;
      cropped.set((data as Float32Array).subarray(line + left, line + right), at);
      at += right - left;
    }
  return { dtype: "f32", shape: size, data: cropped };
}

/** `[a, b, H, W]` to `[b, a, H, W]`. */
function swapPlanes({ shape: [a, b, height, width], data }: HostTensor): HostTensor {
  const plane = height * width;
  const swapped = new Float32Array(data.length);
  for (let i = 0; i < a; i++)
    for (let j = 0; j < b; j++) {
      const from = (i * b + j) * plane;
      swapped.set(data.subarray(from, from + plane) as Float32Array, (j * a + i) * plane);
    }
  return { dtype: "f32", shape: [b, a, height, width], data: swapped };
}

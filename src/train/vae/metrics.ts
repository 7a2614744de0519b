/** @file How good a reconstruction is: PSNR, SSIM and flicker of frames in memory. */
// F frames, H and W height and width, C channels
import { ConfigError } from "../../errors.ts";
import { mean } from "../mean.ts";
import { ssimOfPlane } from "./ssim.ts";

/** Frames in memory. */
export type FrameStack = {
  /** Values of one range, see `range`. */
  readonly data: ArrayLike<number>;
  /** `[F, H, W, C]` where interleaved and `[F, C, H, W]` where planar. */
  readonly shape: readonly [number, number, number, number];
  readonly layout: "interleaved" | "planar";
  /** Largest less smallest possible value: 255 for bytes, 2 for pixels in [-1, 1], 1 for those in [0, 1]. */
  readonly range: number;
};

/** Peak signal-to-noise ratio in decibels: 10 log₁₀(range² / MSE) of every frame, averaged over frames. */
export function psnr(a: FrameStack, b: FrameStack): number {
  return mean(psnrPerFrame(a, b));
}

/** `psnr` of each frame; infinite for frames that are equal. */
export function psnrPerFrame(a: FrameStack, b: FrameStack): number[] {
  checkAlike(a, b);
  const size = a.data.length / a.shape[0];
  return Array.from({ length: a.shape[0] }, (_, frame) => {
    let sum = 0;
    for (let i = frame * size; i < (frame + 1) * size; i++) sum += (a.data[i] - b.data[i]) ** 2;
    return 10 * Math.log10(a.range ** 2 / (sum / size));
  });
}

/**
 * Structural similarity (Wang et al. 2004), 1 for equal frames: Gaussian window of 11 pixels and deviation 1.5,
 * K = (0.01, 0.03), windows that lie inside of the picture only. Per channel, averaged over channels and frames; equals
 * scikit-image's `structural_similarity` with `gaussian_weights`, `sigma=1.5` and `use_sample_covariance=False`.
 * @throws ConfigError when the stacks differ in shape, layout or range, or a side is below 11
 */
export function ssim(a: FrameStack, b: FrameStack): number {
  checkAlike(a, b);
  const { frames, height, width, channels } = sizesOf(a);
  const values: number[] = [];
  for (let frame = 0; frame < frames; frame++)
    for (let channel = 0; channel < channels; channel++)
      values.push(
        ssimOfPlane(planeOf(a, frame, channel), planeOf(b, frame, channel), { height, width }, a.range),
      );
  return mean(values);
}

/** Mean |x_{t+1} - x_t| over all values, in units of the data; 0 for a single frame. */
export function flicker({ data, shape }: FrameStack): number {
  const size = data.length / shape[0];
  if (shape[0] < 2) return 0;
  let sum = 0;
  for (let i = size; i < data.length; i++) sum += Math.abs(data[i] - data[i - size]);
  return sum / (data.length - size);
}

/** Everything at once, for a validation log. */
export type ReconstructionReport = {
  readonly psnr: number;
  readonly ssim: number;
  /** Mean absolute difference, in units of the data. */
  readonly l1: number;
  readonly flicker: number;
  readonly sourceFlicker: number;
  /** Flicker of the reconstruction less that of the source: above 0 where decoding adds unrest, below where it smears. */
  readonly addedFlicker: number;
};

/** Compares a reconstruction with its source. @throws ConfigError as `ssim` */
export function reportReconstruction(source: FrameStack, reconstruction: FrameStack): ReconstructionReport {
  const [sourceFlicker, ownFlicker] = [flicker(source), flicker(reconstruction)];
  return {
    psnr: psnr(source, reconstruction),
    ssim: ssim(source, reconstruction),
    l1: meanDifference(source.data, reconstruction.data),
    flicker: ownFlicker,
    sourceFlicker,
    addedFlicker: ownFlicker - sourceFlicker,
  };
}

function meanDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i]);
  return sum / a.length;
}

function sizesOf({ shape: [frames, ...rest], layout }: FrameStack) {
  const [height, width, channels] = layout === "interleaved" ? rest : [rest[1], rest[2], rest[0]];
  return { frames, height, width, channels };
}

function planeOf(stack: FrameStack, frame: number, channel: number): Float64Array {
  const { height, width, channels } = sizesOf(stack);
  const size = height * width;
  const start = frame * size * channels + (stack.layout === "planar" ? channel * size : channel);
  const stride = stack.layout === "planar" ? 1 : channels;
  return Float64Array.from({ length: size }, (_, i) => stack.data[start + i * stride]);
}

function checkAlike(a: FrameStack, b: FrameStack): void {
  const count = a.shape.reduce((product, size) => product * size, 1);
  const alike =
    a.shape.every((size, i) => size === b.shape[i]) && a.layout === b.layout && a.range === b.range;
  if (!alike)
    throw new ConfigError(
      `frames to compare must agree in shape, layout and range, got ${describeStack(a)} and ${describeStack(b)}`,
    );
  if (count === 0 || a.data.length !== count || b.data.length !== count)
    throw new ConfigError(
      `frames of ${describeStack(a)} have ${count} values, got ${a.data.length} and ${b.data.length}`,
    );
}

function describeStack({ shape, layout, range }: FrameStack): string {
  return `[${shape.join(", ")}] ${layout} over ${range}`;
}

/** @file Perceptual distances for training: of one frame a clip, with LPIPS or, where its weights are missing, without. */
// T frames, C channels, H and W height and width
import { drawNormals } from "../../diffusion/noise.ts";
import { abs, averagePool, conv, gather, relu, upsample } from "../../graph/functions.ts";
import { constant, type Tensor } from "../../graph/tensor.ts";
import { drawUniform, rngFor } from "../diffusion/random.ts";
import { type Perceptual, squaredDifference } from "./lpips.ts";

/**
 * `distance` of one frame of a reconstruction from the same frame of the clip, both `[T, 3, H, W]`. `frame` is an
 * integer input `[1]`, 0 to T - 1, so that one graph serves whichever frame is drawn.
 */
export function perceptualTerm(distance: Perceptual, frame: Tensor) {
  return (reconstruction: Tensor, clip: Tensor): Tensor =>
    distance(gather(reconstruction, frame), gather(clip, frame));
}

/** Which of a clip's `frames` the perceptual distance looks at in this step: uniform over time. */
export function perceptualFrame(seed: number, step: number, index: number, frames: number): number {
  return Math.floor(drawUniform(rngFor(seed, "perceptual frame", step, index)) * frames);
}

/** Channels of the random network's feature maps; each is at half the resolution of the one before. */
const CHANNELS = [8, 16, 32];

/** Under the root of feature lengths: random features are 0 on flat areas, whose noise must not be blown up. */
const FLAT = 1e-2;

/** Octaves of the pyramid, its coarse rest not counted. */
const OCTAVES = 3;

/**
 * A stand-in for LPIPS that needs no weights file. It is NOT LPIPS and nothing in it has been learned from people's
 * judgements or from pictures: half of it is the mean absolute difference of the octaves of a Laplacian pyramid, which
 * weighs edges and textures more than a pixel error does; the other half is the LPIPS formula over the features of a
 * small network of fixed random filters without mean, which ignores brightness and compares local patterns. It takes
 * sides that are multiples of 8, and the same `seed` gives the same distance.
 */
export function plainPerceptual(seed = 0): Perceptual {
  const kernels = randomKernels(seed);
  return (picture, target) =>
    pyramidDistance(picture, target)
      .add(featureDistance(picture, target, kernels))
      .mul(0.5);
}

/** Mean over the octaves, and the coarse rest, of the mean absolute difference, `[1, 3, H, W]` each. */
export function pyramidDistance(picture: Tensor, target: Tensor): Tensor {
  let rest = picture.sub(target); // the pyramid is linear: that of a difference is the difference of pyramids
  const parts: Tensor[] = [];
  for (let octave = 0; octave < OCTAVES; octave++) {
    const coarse = averagePool(rest, [2, 2]);
    parts.push(meanOf(abs(rest.sub(upsample(coarse, [1, 1, 2, 2])))));
    rest = coarse;
  }
  parts.push(meanOf(abs(rest)));
  return parts.reduce((sum, part) => sum.add(part)).mul(1 / parts.length);
}

/** LPIPS' formula with equal weights: mean over the stages of the squared distance of unit feature vectors, 0 to 4. */
function featureDistance(picture: Tensor, target: Tensor, kernels: readonly Tensor[]): Tensor {
  let [x, y] = [picture, target];
  const parts = kernels.map((kernel, stage) => {
    if (stage > 0) [x, y] = [averagePool(x, [2, 2]), averagePool(y, [2, 2])];
    [x, y] = [relu(filtered(x, kernel)), relu(filtered(y, kernel))];
    return squaredDifference(x, y, FLAT).sum([1]).mean([0, 1, 2]);
  });
  return parts.reduce((sum, part) => sum.add(part)).mul(1 / parts.length);
}

function filtered(x: Tensor, kernel: Tensor): Tensor {
  return conv(x, kernel, undefined, { before: [1, 1], after: [1, 1] });
}

/** Normal filters with the variance of He et al. 2015, each less its mean. */
function randomKernels(seed: number): Tensor[] {
  return CHANNELS.map((out, stage) => {
    const inner = CHANNELS[stage - 1] ?? 3;
    const taps = inner * 9;
    const values = drawNormals(rngFor(seed, "perceptual filters", stage), out * taps);
    for (let row = 0; row < out; row++) {
      const filter = values.subarray(row * taps, (row + 1) * taps);
      const mean = filter.reduce((sum, value) => sum + value, 0) / taps;
      filter.forEach((value, i) => {
        filter[i] = (value - mean) * Math.sqrt(2 / taps);
      });
    }
    return constant(values, [out, inner, 3, 3]);
  });
}

function meanOf(x: Tensor): Tensor {
  return x.mean(x.shape.map((_, axis) => axis));
}

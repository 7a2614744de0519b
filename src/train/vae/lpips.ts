/** @file LPIPS: the distance of two pictures in the features of a VGG-16 network (Zhang et al. 2018). */
// C channels of a feature map, H and W height and width
import { ConfigError } from "../../errors.ts";
import { conv, reduceMax, relu, sqrt } from "../../graph/functions.ts";
import { type Shape, showShape } from "../../graph/shape.ts";
import { constant, type Tensor } from "../../graph/tensor.ts";
import { layer, type Scope } from "../../nn/scope.ts";

/** Distance of two pictures `[1, 3, H, W]` in [-1, 1]: a scalar, 0 for equal ones. */
export type Perceptual = (picture: Tensor, target: Tensor) => Tensor;

/** Convolutions of VGG-16 before each of the five feature maps: position in torchvision's `features`, and channels. */
const stages: readonly { readonly layers: readonly number[]; readonly channels: number }[] = [
  { layers: [0, 2], channels: 64 },
  { layers: [5, 7], channels: 128 },
  { layers: [10, 12, 14], channels: 256 },
  { layers: [17, 19, 21], channels: 512 },
  { layers: [24, 26, 28], channels: 512 },
];

/** Mean and deviation of the pictures that VGG-16 was trained on, for pixels in [-1, 1]. */
const SHIFT = [-0.03, -0.088, -0.188];
const SPREAD = [0.458, 0.448, 0.45];

/** Four halvings come before the last feature map. */
const LEAST_SIDE = 16;

/**
 * LPIPS with VGG-16: features of both pictures at relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3, normalised over their
 * channels, differences squared, weighted per channel by `lin0` to `lin4`, averaged over the picture and added up.
 * Declares torchvision's `features.N.weight` and `features.N.bias` and the `linK.model.1.weight` of the LPIPS
 * release under `p`; these are to stay as they are, so leave their keys out of what is differentiated.
 */
export function lpips(p: Scope): Perceptual {
  return (picture, target) => {
    const [ours, theirs] = [features(p, picture), features(p, target)];
    const distances = ours.map((x, k) => {
      const weight = p.at(`lin${k}`, "model", 1).param("weight", [1, x.dim(1), 1, 1]);
      return squaredDifference(x, theirs[k]).mul(weight).sum([1]).mean([0, 1, 2]);
    });
    return distances.reduce((sum, distance) => sum.add(distance));
  };
}

/** The keys of a weights file for `lpips` and their shapes: 13 convolutions and five rows of weights. */
export function lpipsParams(): Map<string, Shape> {
  const params = new Map<string, Shape>();
  let inner = 3;
  stages.forEach(({ layers, channels }, k) => {
    for (const index of layers) {
      params.set(`features.${index}.weight`, [channels, inner, 3, 3]);
      params.set(`features.${index}.bias`, [channels]);
      inner = channels;
    }
    params.set(`lin${k}.model.1.weight`, [1, channels, 1, 1]);
  });
  return params;
}

/** (x / |x| - y / |y|)² for feature maps `[1, C, H, W]`, lengths taken over the channels. */
export function squaredDifference(x: Tensor, y: Tensor, eps = 1e-20): Tensor {
  const difference = unitLength(x, eps).sub(unitLength(y, eps));
  return difference.mul(difference);
}

/**
 * The release divides by √Σx² + 1e-10, whose derivative is not a number where all channels are 0. Under the root, its
 * square gives the same values and a derivative everywhere.
 */
function unitLength(x: Tensor, eps: number): Tensor {
  return x.div(sqrt(x.mul(x).sum([1], true).add(eps)));
}

const features = layer((p: Scope, picture: Tensor): Tensor[] => {
  const [, , height, width] = picture.shape;
  if (Math.min(height, width) < LEAST_SIDE)
    throw new ConfigError(
      `LPIPS needs pictures of at least ${LEAST_SIDE} pixels a side, got ${showShape(picture.shape)}`,
    );
  const perChannel = (values: readonly number[]) => constant(Float32Array.from(values), [1, 3, 1, 1]);
  let x = picture.sub(perChannel(SHIFT)).div(perChannel(SPREAD));
  return stages.map(({ layers, channels }, k) => {
    if (k > 0) x = halved(x);
    for (const index of layers) x = relu(convolution(p.at("features", index), x, channels));
    return x;
  });
});

const convolution = layer((p: Scope, x: Tensor, out: number) =>
  conv(x, p.param("weight", [out, x.dim(1), 3, 3]), p.param("bias", [out]), {
    before: [1, 1],
    after: [1, 1],
  }),
);

/** The largest of every 2x2 pixels; an odd last row or column is dropped. */
function halved(x: Tensor): Tensor {
  const [batch, channels, height, width] = x.shape;
  const [h, w] = [Math.floor(height / 2), Math.floor(width / 2)];
  const even = x.slice(2, 0, 2 * h).slice(3, 0, 2 * w);
  return reduceMax(even.reshape([batch * channels, h, 2, w, 2]), [2, 4]).reshape([batch, channels, h, w]);
}

/** @file Text dropout: some samples train without their caption, so that guidance has something to guide away from. */
import { ShapeError } from "../../errors.ts";
import { maximum, minimum } from "../../graph/functions.ts";
import { showShape } from "../../graph/shape.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { t5Encode } from "../../models/t5/encoder.ts";
import type { Scope } from "../../nn/scope.ts";
import { drawUniform, rngFor } from "./random.ts";

/** Where dropout is drawn. */
export type DropoutDraw = {
  readonly seed: number;
  readonly step: number;
  /** 0 (never) to 1 (always); 0.1 for text and 0.05 for images in CogVideoX. */
  readonly probability: number;
};

/**
 * 1 where the caption of a sample stays and 0 where it is dropped. `first` is the index of the first sample among all
 * samples of the step, over ranks and micro-batches.
 */
export function keptText(draw: DropoutDraw, first: number, count: number): Float32Array {
  return kept("text dropout", draw, first, count);
}

/** As `keptText`, for the draws of another `purpose`. */
export function kept(
  purpose: string,
  { seed, step, probability }: DropoutDraw,
  first: number,
  count: number,
): Float32Array {
  return Float32Array.from({ length: count }, (_, i) =>
    drawUniform(rngFor(seed, purpose, step, first + i)) < probability ? 0 : 1,
  );
}

/**
 * Text states `[B, T, C]` with those of dropped samples replaced as a whole: by zeros, as the released models were
 * trained, or by `empty [1, T, C]`, the encoding of an empty prompt, which is what guidance uses by default.
 * `kept [B]` is 1 or 0.
 * @throws ShapeError when `empty` is not one sample like those of `text`
 */
export function dropText(text: Tensor, kept: Tensor, empty?: Tensor): Tensor {
  const factor = kept.reshape([-1, 1, 1]);
  const captioned = text.mul(factor);
  if (empty === undefined) return captioned;
  const [, tokens, channels] = text.shape;
  if (showShape(empty.shape) !== showShape([1, tokens, channels]))
    throw new ShapeError(
      `the states of the empty prompt must be ${showShape([1, tokens, channels])}, got ${showShape(empty.shape)}`,
    );
  return captioned.add(empty.mul(factor.neg().add(1)));
}

/** Stands in place of every token of a caption whose states are to be zeros. */
export const DROPPED = -1;

/** States `[B, T, D]` of token ids `[B, T]`, int32; zeros for captions whose ids are `DROPPED`, from which nothing is learned. */
export function encodeText(p: Scope, ids: Tensor, config: T5Config): Tensor {
  const numbers = ids.cast("f32");
  const kept = minimum(numbers.slice(1, 0, 1).add(1), 1);
  return dropText(t5Encode(p, maximum(numbers, 0).cast("i32"), config), kept);
}

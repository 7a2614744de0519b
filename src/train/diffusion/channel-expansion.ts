/** @file More input channels for a trained transformer: how a text-to-video model starts as an image-to-video model. */
import { ShapeError } from "../../errors.ts";
import { type Shape, showShape } from "../../graph/shape.ts";

/** Values of one parameter. */
export type ParamValues = { readonly shape: Shape; readonly data: Float32Array };

/**
 * `patch_embed.proj.weight` with zeros for channels `from` to `to`, so that the model predicts what it did before
 * whatever the new channels hold. A kernel `[D, from, p, p]` becomes `[D, to, p, p]`, a matrix `[D, from · k]` with the
 * channels slowest becomes `[D, to · k]`.
 * @throws ShapeError when the weight does not have `from` channels or `to` is smaller
 */
export function expandInputChannels({ shape, data }: ParamValues, from: number, to: number): ParamValues {
  const [width, channels] = shape;
  const isMatrix = shape.length === 2;
  if ((isMatrix ? channels % from !== 0 : channels !== from) || to < from)
    throw new ShapeError(
      `a patch embedding of ${showShape(shape)} cannot grow from ${from} to ${to} input channels`,
    );
  const rowBefore = data.length / width;
  const rowAfter = (rowBefore / from) * to;
  const grown = new Float32Array(width * rowAfter);
  for (let row = 0; row < width; row++)
    grown.set(data.subarray(row * rowBefore, (row + 1) * rowBefore), row * rowAfter);
  return { shape: shape.with(1, (channels / from) * to), data: grown };
}

/** @file Two ways to place the channels that turn together: side by side, as CogVideoX has them, or in halves. */
import { ShapeError } from "../../../errors.ts";

/**
 * Where a pair of channels lies within the block of its axis, n channels wide: `interleaved` at 2j and 2j + 1, as in SAT,
 * diffusers and this package, which is why nothing is moved between those; `halves` at j and n/2 + j, as in models after
 * LLaMA.
 */
export type RotaryLayout = "interleaved" | "halves";

/**
 * Moves rows of weights from one layout into the other, so that a model of the one becomes a model of the other: the
 * weights and biases of the query and key projections (and of LoRAs on them, matrix B), and both affine parts of their
 * norms. Values stay as they are: products of queries and keys are sums over channels, in whichever order.
 * @param data `[rows, ...]`, row by row; rows are those of one head behind another
 * @throws ShapeError when rows are not those of whole heads, or a head's channels do not divide into the three axes
 */
export function moveRotaryRows(
  data: Float32Array,
  { rows, headDim }: { readonly rows: number; readonly headDim: number },
  from: RotaryLayout,
  to: RotaryLayout,
): Float32Array {
  if (headDim % 16 !== 0)
    throw new ShapeError(
      `a head must have a multiple of 16 channels to be cut into t, y and x, got ${headDim}`,
    );
  if (rows % headDim !== 0 || data.length % rows !== 0)
    throw new ShapeError(
      `${data.length} values in ${rows} rows are not the rows of heads of ${headDim} channels`,
    );
  if (from === to) return data.slice();
  const [there, here] = [channelsOf(headDim, from), channelsOf(headDim, to)];
  const width = data.length / rows;
  const out = new Float32Array(data.length);
  for (let head = 0; head < rows; head += headDim)
    for (const [i, channel] of there.entries()) {
      const start = (head + channel) * width;
      out.set(data.subarray(start, start + width), (head + here[i]) * width);
    }
  return out;
}

/** The channels of a head, both of the first pair, then of the second, and so on through t (1/4), y and x (3/8 each). */
function channelsOf(headDim: number, layout: RotaryLayout): number[] {
  if (layout === "interleaved") return Array.from({ length: headDim }, (_, i) => i);
  let start = 0;
  return [headDim / 4, (headDim / 8) * 3, (headDim / 8) * 3].flatMap((width) => {
    const block = Array.from({ length: width }, (_, i) => start + (i >> 1) + (i % 2) * (width / 2));
    start += width;
    return block;
  });
}

/** @file What a session is fed, checked against what its model takes. */
import { SessionError } from "../errors.ts";
import type { DType } from "../graph/dtype.ts";
import type { OnnxModel } from "../graph/onnx.ts";
import { type Shape, sameShape, showShape } from "../graph/shape.ts";

type Feed = { readonly dtype: DType; readonly shape: Shape };

/**
 * Checks names, types and whole shapes. The engine itself leaves the first axis open, see `valueInfo` in onnx.ts.
 * @throws SessionError naming the segment and the input
 */
export function checkFeeds(
  label: string,
  { inputs }: OnnxModel,
  feeds: Readonly<Record<string, Feed>>,
): void {
  const named = new Map(inputs.map((port) => [port.name, port]));
  for (const name of Object.keys(feeds))
    if (!named.has(name))
      throw new SessionError(`${label} has no input ${name}; it takes ${[...named.keys()].join(", ")}`);
  for (const [name, { shape, dtype }] of named) {
    const feed = feeds[name];
    if (feed === undefined)
      throw new SessionError(`${label} is not fed its input ${name}, ${dtype} ${showShape(shape)}`);
    if (feed.dtype !== dtype || !sameShape(feed.shape, shape))
      throw new SessionError(
        `input ${name} of ${label} must be ${dtype} ${showShape(shape)}, got ${feed.dtype} ${showShape(feed.shape)}`,
      );
  }
}

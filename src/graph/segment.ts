/** @file A segment: the unit of execution. Models are cut into segments; everything that waits, waits between them. */
import type { DType } from "./dtype.ts";
import { simplify } from "./rewrite.ts";
import type { Shape } from "./shape.ts";
import { input, type Tensor, toposort } from "./tensor.ts";

/** Shape and type of a segment's input; a bare shape is float32. */
export type InputSpec = Shape | { readonly shape: Shape; readonly dtype: DType };

/** A traced part of a model: what goes in, what comes out, and the parameters it declares. */
export type Segment<I extends string = string, O extends string = string> = {
  /** Names the segment in progress, errors and profiles, such as `transformer_blocks.7`. */
  readonly name: string;
  readonly inputs: Readonly<Record<I, Tensor>>;
  readonly outputs: Readonly<Record<O, Tensor>>;
  /** Parameters by checkpoint key. */
  readonly params: ReadonlyMap<string, Tensor>;
};

/** Traces `build` over fresh inputs and cleans the graph up. */
export function traceSegment<I extends string, O extends string>(
  name: string,
  specs: Readonly<Record<I, InputSpec>>,
  build: (inputs: Readonly<Record<I, Tensor>>) => {
    outputs: Record<O, Tensor>;
    params: ReadonlyMap<string, Tensor>;
  },
): Segment<I, O> {
  const entries = Object.entries<InputSpec>(specs).map(([key, spec]) => {
    const { shape, dtype } = "dtype" in spec ? spec : { shape: spec, dtype: "f32" as const };
    return [key, input(key, shape, dtype)];
  });
  const inputs = Object.fromEntries(entries) as Record<I, Tensor>;
  const { outputs, params } = build(inputs);
  return { name, inputs, outputs: simplify(outputs), params };
}

/** Keys of the parameters that a segment declares and no output needs: a mistake in the model that declares them. */
export function unusedParams({ outputs, params }: Segment): string[] {
  const reached = new Set(toposort(Object.values(outputs)));
  return [...params].filter(([, param]) => !reached.has(param)).map(([key]) => key);
}

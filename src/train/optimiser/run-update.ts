/** @file One update of weights in an engine: what it is fed, and what becomes of what it gives. */
import { sizeOf } from "../../graph/shape.ts";
import type { Engine, Session, Value } from "../../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../../runtime/protocol.ts";
import type { scalarInputs } from "./update.ts";

/** Values of the scalars of an update graph. */
export type UpdateScalars = Readonly<Record<(typeof scalarInputs)[number], number>>;

/** What goes into an update. */
export type UpdateFeeds = {
  /** The old state, by `<role>/<key>`, which the new one is written over. */
  readonly state: ReadonlyMap<string, ResidentRef>;
  /** By key, gone afterwards; a weight without one gets a gradient of zero. */
  readonly gradients: ReadonlyMap<string, ResidentRef>;
  readonly scalars: UpdateScalars;
};

/** Runs the session of an `updateGraph`, and gives what it gives. */
export function runUpdate(
  engine: Engine,
  session: Session,
  { state, gradients, scalars }: UpdateFeeds,
): Promise<Record<string, ResidentRef>> {
  const feeds: Record<string, Value> = Object.fromEntries(state);
  for (const { name, shape } of session.model.inputs)
    if (name in scalars) feeds[name] = floats([], Float32Array.of(scalars[name as keyof UpdateScalars]));
    else if (name.startsWith("gradient/"))
      feeds[name] =
        gradients.get(name.slice("gradient/".length)) ?? floats(shape, new Float32Array(sizeOf(shape)));
  return engine.run(session, feeds, { consume: [...gradients.values()], into: state });
}

function floats(shape: readonly number[], data: Float32Array): HostTensor {
  return { dtype: "f32", shape, data };
}

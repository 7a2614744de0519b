/** @file Updates of weights in an engine: what they are fed, and the compiled graphs, which weights of the same shapes share. */
import { toOnnx } from "../../graph/onnx.ts";
import { operationsOf } from "../../graph/operations.ts";
import { type Shape, sizeOf } from "../../graph/shape.ts";
import type { Engine, Session, Value } from "../../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../../runtime/protocol.ts";
import { takesMuon } from "./muon.ts";
import { rolesOf, type scalarInputs, type UpdateSettings, updateGraph } from "./update.ts";

/** Values of the scalars of an update graph. */
export type UpdateScalars = Readonly<Record<(typeof scalarInputs)[number], number>>;

/** What goes into an update. */
export type UpdateFeeds = {
  /** By `<role>/<key>`; the new values of the weights that are updated are written over the old ones. */
  readonly state: ReadonlyMap<string, ResidentRef>;
  /** By key, gone afterwards; a weight without one gets a gradient of zero. */
  readonly gradients: ReadonlyMap<string, ResidentRef>;
  readonly scalars: UpdateScalars;
};

/** An update with the keys that its graph was built for, and its multiplications and additions. */
type CompiledUpdate = {
  readonly session: Session;
  readonly keys: readonly string[];
  readonly operations: number;
};

/** The updates of one engine. They do not clip: that needs the gradients of all weights, and `share` can have it in it. */
export class Updates {
  private readonly engine: Engine;
  private readonly settings: UpdateSettings;
  private readonly compiled = new Map<string, Promise<CompiledUpdate>>();

  constructor(engine: Engine, settings: UpdateSettings) {
    this.engine = engine;
    this.settings = { ...settings, clip: null };
  }

  /**
   * Updates the weights of `shapes`; gives the operations that it took. Blocks of a model, whose weights have the same
   * shapes in the same order, share a graph.
   */
  async run(shapes: ReadonlyMap<string, Shape>, { state, gradients, scalars }: UpdateFeeds): Promise<number> {
    if (shapes.size === 0) return 0;
    const { session, keys, operations } = await this.compile(shapes);
    const keyOf = new Map([...shapes.keys()].map((key, i) => [keys[i], key]));
    const old = new Map(
      [...keyOf].flatMap(([name, key]) =>
        rolesOf(this.settings).map((role) => [`${role}/${name}`, state.get(`${role}/${key}`)!] as const),
      ),
    );
    const feeds: Record<string, Value> = Object.fromEntries(old);
    for (const { name, shape } of session.model.inputs)
      if (name in scalars) feeds[name] = floats([], Float32Array.of(scalars[name as keyof UpdateScalars]));
      else if (name.startsWith("gradient/"))
        feeds[name] =
          gradients.get(keyOf.get(name.slice("gradient/".length))!) ??
          floats(shape, new Float32Array(sizeOf(shape)));
    await this.engine.run(session, feeds, { consume: [...gradients.values()], into: old });
    return operations;
  }

  /** Releases the compiled graphs. */
  async close(): Promise<void> {
    for (const update of this.compiled.values()) await this.engine.unload((await update).session);
    this.compiled.clear();
  }

  private compile(shapes: ReadonlyMap<string, Shape>): Promise<CompiledUpdate> {
    const { muon } = this.settings;
    const kinds = [...shapes].map(([key, shape]) => [shape, muon === true && takesMuon(key, shape)]);
    const id = JSON.stringify(kinds);
    const known = this.compiled.get(id);
    if (known !== undefined) return known;
    const loading = this.load(shapes);
    this.compiled.set(id, loading);
    return loading;
  }

  private async load(shapes: ReadonlyMap<string, Shape>): Promise<CompiledUpdate> {
    const { norm: _, ...outputs } = updateGraph(shapes, this.settings);
    const session = await this.engine.load("update", toOnnx(outputs, { direct: true }), { arena: true });
    return { session, keys: [...shapes.keys()], operations: operationsOf(Object.values(outputs)) };
  }
}

function floats(shape: readonly number[], data: Float32Array): HostTensor {
  return { dtype: "f32", shape, data };
}

/** @file Segments of one model, made ready when first run and kept for the next run. */
import { type OnnxModel, toOnnx } from "../graph/onnx.ts";
import type { Segment } from "../graph/segment.ts";
import type { Engine, Session, Value } from "./engine.ts";
import type { MappedWeights } from "./mapped-weights.ts";
import type { ResidentRef } from "./protocol.ts";

export type PoolOptions = {
  /**
   * For segments with few but very large tensors: the session keeps the memory its operators free, which spares the
   * kernel's page faults, and is unloaded after its run, which gives all of it back.
   */
  readonly once?: boolean;
};

/** Runs segments by name; a session is made on first use and lives until `close`. */
export class SegmentPool {
  private readonly engine: Engine;
  private readonly weights: MappedWeights;
  private readonly options: PoolOptions;
  private readonly sessions = new Map<Segment, Session>();
  private readonly models = new Map<Segment, OnnxModel>();

  constructor(engine: Engine, weights: MappedWeights, options: PoolOptions = {}) {
    this.engine = engine;
    this.weights = weights;
    this.options = options;
  }

  /** See `Engine.run`; feeds are by input name. */
  async run<O extends string>(
    segment: Segment<string, O>,
    feeds: Readonly<Record<string, Value>>,
    options: { consume?: readonly ResidentRef[]; signal?: AbortSignal } = {},
  ): Promise<Record<O, ResidentRef>> {
    const session = this.sessions.get(segment) ?? (await this.load(segment));
    const outputs = await this.engine.run(session, feeds, options);
    if (this.options.once) await this.unload(segment, session);
    return outputs;
  }

  /** Releases every session; the pool can be used again and makes them anew. */
  async close(): Promise<void> {
    for (const [segment, session] of [...this.sessions]) await this.unload(segment, session);
  }

  private async unload(segment: Segment, session: Session): Promise<void> {
    this.sessions.delete(segment);
    await this.engine.unload(session);
  }

  private async load(segment: Segment): Promise<Session> {
    const model = this.models.get(segment) ?? toOnnx(segment.outputs, { storage: this.weights.storage });
    this.models.set(segment, model);
    const session = await this.engine.load(segment.name, model, {
      weightsFolder: this.weights.folder,
      arena: this.options.once,
    });
    this.sessions.set(segment, session);
    return session;
  }
}

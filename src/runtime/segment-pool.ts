/** @file Segments of one model, made ready when first run and kept for the next run. */
import { toOnnx } from "../graph/onnx.ts";
import type { Segment } from "../graph/segment.ts";
import type { Engine, Session, Value } from "./engine.ts";
import type { MappedWeights } from "./mapped-weights.ts";
import type { OptimizeLevel, ResidentRef } from "./protocol.ts";

export type PoolOptions = {
  /** How much the engine may rewrite the segments' graphs. */
  readonly optimize?: OptimizeLevel;
};

/** Runs segments by name; a session is made on first use and lives until `close`. */
export class SegmentPool {
  private readonly engine: Engine;
  private readonly weights: MappedWeights;
  private readonly options: PoolOptions;
  private readonly sessions = new Map<Segment, Session>();

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
    return this.engine.run(session, feeds, options);
  }

  /** Releases every session; the pool can be used again and makes them anew. */
  async close(): Promise<void> {
    const sessions = [...this.sessions.values()];
    this.sessions.clear();
    for (const session of sessions) await this.engine.unload(session);
  }

  private async load(segment: Segment): Promise<Session> {
    const model = toOnnx(segment.outputs, { storage: this.weights.storage });
    const session = await this.engine.load(segment.name, model, {
      weightsFolder: this.weights.folder,
      optimize: this.options.optimize,
    });
    this.sessions.set(segment, session);
    return session;
  }
}

/** @file Segments of one model, made ready when first run and kept for the next run. */
import { type OnnxModel, toOnnx } from "../graph/onnx.ts";
import type { Segment } from "../graph/segment.ts";
import { hasNarrowBytes } from "./byte-products.ts";
import type { Engine, Session, Value } from "./engine.ts";
import type { MappedWeights } from "./mapped-weights.ts";
import type { HostTensor, ResidentRef } from "./protocol.ts";

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
  /** Results that are still with the engine. */
  private readonly left = new Map<number, ResidentRef>();

  constructor(engine: Engine, weights: MappedWeights, options: PoolOptions = {}) {
    this.engine = engine;
    this.weights = weights;
    this.options = options;
  }

  /**
   * See `Engine.run`; feeds are by input name. When a run fails, or `signal` has fired, everything that earlier runs of
   * this pool have left with the engine is let go, so that an abandoned evaluation leaves nothing behind.
   */
  async run<O extends string>(
    segment: Segment<string, O>,
    feeds: Readonly<Record<string, Value>>,
    options: { consume?: readonly ResidentRef[]; signal?: AbortSignal } = {},
  ): Promise<Record<O, ResidentRef>> {
    try {
      const session = this.sessions.get(segment) ?? (await this.load(segment));
      const outputs = await this.engine.run(session, feeds, options);
      for (const tensor of options.consume ?? []) this.left.delete(tensor.id);
      for (const tensor of Object.values(outputs)) this.left.set(tensor.id, tensor);
      if (this.options.once) await this.unload(segment, session);
      return outputs;
    } catch (error) {
      await this.engine.free(...this.left.values());
      this.left.clear();
      throw error;
    }
  }

  /** Brings a result to the host; the engine lets go of it. */
  async download(tensor: ResidentRef): Promise<HostTensor> {
    this.left.delete(tensor.id);
    return this.engine.download(tensor);
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
    const portable = this.engine.settings.device !== "cpu";
    const prepack = isQuantized(segment);
    const narrowBytes = prepack && !portable && (await hasNarrowBytes(this.engine));
    const options = { storage: this.weights.storage, portable, prepack, narrowBytes };
    const model = this.models.get(segment) ?? toOnnx(segment.outputs, options);
    this.models.set(segment, model);
    const session = await this.engine.load(segment.name, model, {
      weightsFolder: this.weights.folder,
      arena: this.options.once,
      prepack,
    });
    this.sessions.set(segment, session);
    return session;
  }
}

function isQuantized({ params }: Segment): boolean {
  return [...params.values()].some(({ dtype }) => dtype === "i8" || dtype === "u8");
}

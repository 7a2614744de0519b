/** @file The text encoder at work: token ids in, hidden states out, one layer after the other. */
import type { T5Config } from "../models/t5/config.ts";
import { type T5Segments, t5Segments } from "../models/t5/encoder.ts";
import type { Engine } from "../runtime/engine.ts";
import { declaredShapes, mapWeights } from "../runtime/mapped-weights.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { type PoolOptions, SegmentPool } from "../runtime/segment-pool.ts";
import { t5Aliases } from "../weights/check.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import type { RunHooks } from "./run-hooks.ts";

/** The T5 encoder of one checkpoint, set up for one batch and length. */
export class TextEncoder {
  private readonly segments: T5Segments;
  private readonly pool: SegmentPool;

  /**
   * @param options `once` for a single encoding: each layer's session and mapped weights go when it has run; otherwise
   *   they are kept for the next encoding, until `close`
   * @throws WeightsError when the checkpoint does not fit the model
   */
  constructor(
    engine: Engine,
    config: T5Config,
    weights: WeightSet,
    { batch, length }: { readonly batch: number; readonly length: number },
    options: PoolOptions = {},
  ) {
    this.segments = t5Segments(config, batch, length);
    const { embed, layers, norm } = this.segments;
    const declared = declaredShapes([embed, ...layers, norm]);
    this.pool = new SegmentPool(engine, mapWeights(weights, declared, { aliases: t5Aliases }), options);
  }

  /**
   * Last hidden state `[B, S, width]` for int32 `ids [B, S]`. No attention mask: pads are attended, as the models
   * were trained.
   */
  async encode(ids: HostTensor, { signal, onSegment }: RunHooks = {}): Promise<HostTensor> {
    const { embed, layers, norm } = this.segments;
    const total = layers.length + 2;
    const first = await this.pool.run(embed, { ids }, { signal });
    onSegment?.(embed.name, 1, total);
    let { x } = first;
    for (const [i, layer] of layers.entries()) {
      ({ x } = await this.pool.run(layer, { x, bias: first.bias }, { consume: [x], signal }));
      onSegment?.(layer.name, i + 2, total);
    }
    ({ x } = await this.pool.run(norm, { x }, { consume: [x, first.bias], signal }));
    onSegment?.(norm.name, total, total);
    return this.pool.download(x);
  }

  /** Lets the sessions go. */
  async close(): Promise<void> {
    await this.pool.close();
  }
}

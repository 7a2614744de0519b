/** @file The text encoder at work: token ids in, hidden states out, one layer after the other. */
import type { T5Config } from "../models/t5/config.ts";
import { type T5Segments, t5Segments } from "../models/t5/encoder.ts";
import type { Engine } from "../runtime/engine.ts";
import { declaredShapes, type MappedWeights, mapWeights } from "../runtime/mapped-weights.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { SegmentPool } from "../runtime/segment-pool.ts";
import { t5Aliases } from "../weights/check.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import type { RunHooks } from "./denoiser.ts";

/** The T5 encoder of one checkpoint, set up for one batch and length. */
export class TextEncoder {
  private readonly engine: Engine;
  private readonly segments: T5Segments;
  private readonly weights: MappedWeights;

  /** @throws WeightsError when the checkpoint does not fit the model */
  constructor(engine: Engine, config: T5Config, weights: WeightSet, batch: number, length: number) {
    this.engine = engine;
    this.segments = t5Segments(config, batch, length);
    const { embed, layers, norm } = this.segments;
    this.weights = mapWeights(weights, declaredShapes([embed, ...layers, norm]), { aliases: t5Aliases });
  }

  /**
   * Last hidden state `[B, S, width]` for int32 `ids [B, S]`. No attention mask: pads are attended, as the models
   * were trained. Every layer's session is let go after its one use.
   */
  async encode(ids: HostTensor, { signal, onSegment }: RunHooks = {}): Promise<HostTensor> {
    const { embed, layers, norm } = this.segments;
    const pool = new SegmentPool(this.engine, this.weights);
    const total = layers.length + 2;
    try {
      const first = await pool.run(embed, { ids }, { signal });
      onSegment?.(embed.name, 1, total);
      let { x } = first;
      for (const [i, layer] of layers.entries()) {
        ({ x } = await pool.run(layer, { x, bias: first.bias }, { consume: [x], signal }));
        onSegment?.(layer.name, i + 2, total);
        await pool.close();
      }
      ({ x } = await pool.run(norm, { x }, { consume: [x, first.bias], signal }));
      onSegment?.(norm.name, total, total);
      return await pool.download(x);
    } finally {
      await pool.close();
    }
  }
}

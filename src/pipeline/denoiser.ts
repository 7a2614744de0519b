/** @file The transformer at work: latents and text in, velocity out, segment by segment. */
import {
  adaptSplitBlock,
  adaptTransformer,
  type TransformerAdapter,
} from "../models/transformer/adapters.ts";
import type { TransformerConfig } from "../models/transformer/config.ts";
import type { LatentSize } from "../models/transformer/grid.ts";
import { type Positions, positionsFor } from "../models/transformer/positions/positions.ts";
import type { Riflex } from "../models/transformer/positions/riflex.ts";
import {
  type LayerFormats,
  quantizeSplitBlock,
  quantizeTransformer,
} from "../models/transformer/quantized.ts";
import { type SplitBlock, splitBlock } from "../models/transformer/split-block.ts";
import { timestepFeatures } from "../models/transformer/timestep.ts";
import {
  conditioningSegment,
  type TransformerCall,
  type TransformerSegments,
  transformerSegments,
} from "../models/transformer/transformer.ts";
import type { Variation } from "../models/transformer/variation.ts";
import type { Engine } from "../runtime/engine.ts";
import { declaredShapes, mapWeights } from "../runtime/mapped-weights.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import { SegmentPool } from "../runtime/segment-pool.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import { type BlockWalk, blockRunner, type ResidentStreams, throughAll } from "./block-runner.ts";
import { adaptersOf } from "./lora.ts";
import { formatsOf } from "./precision.ts";
import type { RunHooks } from "./run-hooks.ts";

/** The one size of call that a denoiser is set up for, and how it departs from the plain model. */
export type DenoiserCall = LatentSize & {
  readonly batch: number;
  readonly textLength: number;
  /** How the call departs from the plain model. */
  readonly variation?: Variation;
  /** Multiplies the scales of the LoRAs that lie on the weights; 1 unless given. */
  readonly loraScale?: number;
  /** Lowers a temporal frequency of rotary positions where the clip is too long for it; off unless given. */
  readonly riflex?: Riflex;
};

/** What one prediction is made from; B is the batch of the call, T its text length. */
export type DenoiserInputs = {
  /** `[B, F, C, H, W]` */
  readonly latents: HostTensor;
  /** `[B, T, textDim]`; may stay with the engine between steps */
  readonly text: HostTensor | ResidentRef;
  /** One timestep per sample, 0 to 999 */
  readonly timestep: ArrayLike<number>;
  /** The `ofs` value per sample, for models that have it */
  readonly ofs?: ArrayLike<number>;
  /** Index of the step within the run, for denoisers with a cache */
  readonly step?: number;
  /** Index of the window of the clip that the latents are, for denoisers with a cache; 0 unless given */
  readonly window?: number;
};

/** What predicts for a run: a `Denoiser`, or one with a cache. */
export type Predictor = {
  /** See `Denoiser.predict`. */
  predict(inputs: DenoiserInputs, hooks?: RunHooks): Promise<HostTensor>;
  close(): Promise<void>;
};

/** The transformer of one checkpoint, set up for calls of one size. */
export class Denoiser {
  private readonly engine: Engine;
  private readonly config: TransformerConfig;
  private readonly call: TransformerCall;
  private readonly segments: TransformerSegments;
  private readonly adapters: readonly TransformerAdapter[];
  private readonly formats: LayerFormats;
  /** Blocks in two, for those who ask for their attention. */
  private readonly split = new Map<number, SplitBlock>();
  private readonly pool: SegmentPool;
  private readonly positions: Positions;
  private fixed: { added?: ResidentRef; cos?: ResidentRef; sin?: ResidentRef } | null = null;

  /** @throws ConfigError for a size the model cannot take, WeightsError when the checkpoint does not fit the model */
  constructor(engine: Engine, config: TransformerConfig, weights: WeightSet, call: DenoiserCall) {
    this.engine = engine;
    this.config = config;
    this.positions = positionsFor(config, call, call.textLength, call.riflex);
    this.call = { ...call, added: this.positions.added.kind };
    this.adapters = adaptersOf(weights, call.loraScale);
    this.formats = formatsOf(weights);
    const adapted = adaptTransformer(transformerSegments(config, this.call), this.adapters);
    this.segments = quantizeTransformer(adapted, this.formats);
    const { embed, blocks, head } = this.segments;
    const declared = declaredShapes([embed, ...blocks, head]);
    this.pool = new SegmentPool(
      engine,
      mapWeights(weights, declared, { ignore: ignoredKeys(this.positions) }),
    );
  }

  /** The model's prediction `[B, F, outChannels, H, W]`; `signal` stops it at the next segment. */
  async predict(
    inputs: DenoiserInputs,
    hooks: RunHooks = {},
    walk: BlockWalk = throughAll,
  ): Promise<HostTensor> {
    const { signal, onSegment } = hooks;
    const { embed, blocks, head } = this.segments;
    const { cos, sin } = await this.residentPositions();
    const rotation: Record<string, ResidentRef> = cos && sin ? { cos, sin } : {};
    const total = blocks.length + 2;
    const { emb, ...first } = await this.pool.run(embed, this.embedFeeds(inputs), { signal });
    onSegment?.(embed.name, 1, total);
    const split = (index: number) => this.splitAt(index);
    const { engine, pool } = this;
    const runner = blockRunner({ engine, pool, blocks, split, emb, rotation, hooks });
    const { video, text } = await walk(runner, first as ResidentStreams);
    const { sample } = await this.pool.run(head, { video, emb }, { consume: [video, text, emb], signal });
    onSegment?.(head.name, total, total);
    return this.pool.download(sample);
  }

  /** The conditioning vectors `[values, timeDim]` of timesteps, without anything else. */
  async conditioning({ timestep, ofs }: Pick<DenoiserInputs, "timestep" | "ofs">): Promise<HostTensor> {
    const plain = conditioningSegment(this.config, timestep.length);
    const adapted = adaptTransformer({ embed: plain, blocks: [], head: plain }, this.adapters);
    const { embed: segment } = quantizeTransformer(adapted, this.formats);
    const { emb } = await this.pool.run(segment, this.features({ timestep, ofs }));
    return this.pool.download(emb);
  }

  async close(): Promise<void> {
    const { added, cos, sin } = this.fixed ?? {};
    this.fixed = null;
    await this.engine.free(...[added, cos, sin].filter((tensor) => tensor !== undefined));
    await this.pool.close();
  }

  private embedFeeds({ latents, text, timestep, ofs }: DenoiserInputs) {
    return {
      latents,
      text,
      ...this.features({ timestep, ofs }),
      ...(this.fixed?.added ? { positions: this.fixed.added } : {}),
    };
  }

  private features({ timestep, ofs }: Pick<DenoiserInputs, "timestep" | "ofs">) {
    const { width, freqShift, ofsDim } = this.config;
    const features = (values: ArrayLike<number>, dim: number, shift = 0): HostTensor => ({
      dtype: "f32",
      shape: [values.length, dim],
      data: timestepFeatures(values, dim, shift),
    });
    return {
      timestep: features(timestep, width, freqShift),
      ...(ofsDim && ofs ? { ofs: features(ofs, ofsDim) } : {}),
    };
  }

  private splitAt(index: number): SplitBlock {
    const known = this.split.get(index);
    if (known) return known;
    const adapted = adaptSplitBlock(splitBlock(this.config, this.call, index), this.adapters);
    const split = quantizeSplitBlock(adapted, this.formats);
    this.split.set(index, split);
    return split;
  }

  /** Position rows do not change between calls, so they are handed to the engine once. */
  private async residentPositions() {
    if (this.fixed !== null) return this.fixed;
    const { added, rotary } = this.positions;
    const upload = (data: Float32Array, width: number) =>
      this.engine.upload({ dtype: "f32", shape: [1, data.length / width, width], data });
    this.fixed = {
      ...(added.kind === "rows" ? { added: await upload(added.rows, this.config.width) } : {}),
      ...(rotary
        ? {
            cos: await upload(rotary.cos, this.config.headDim / 2),
            sin: await upload(rotary.sin, this.config.headDim / 2),
          }
        : {}),
    };
    return this.fixed;
  }
}

/** A learned table lies in the checkpoint even when a clip of another length makes the model fall back to sines. */
function ignoredKeys({ added }: Positions): RegExp[] {
  return added.kind === "rows" ? [/^patch_embed\.pos_embedding$/] : [];
}

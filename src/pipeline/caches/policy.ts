/** @file What a feature cache is: what it keeps of earlier steps, and one pure decision a step about what to reuse. */
import type { TransformerConfig } from "../../models/transformer/config.ts";

/** A part of the transformer whose results are kept. */
export type Kept =
  /**
   * What the blocks from `front` on, without the last `back`, add to the tokens; of that the `count` newest. With
   * `measured`, decisions are told how far what the blocks before them add has moved since it was last computed.
   */
  | {
      readonly part: "blocks";
      readonly front: number;
      readonly back: number;
      readonly count: number;
      readonly measured?: boolean;
    }
  /** What the attention of every block says; `conditional` keeps the samples with the prompt only. */
  | { readonly part: "attention"; readonly count: number; readonly conditional?: boolean }
  /** The model's prediction. */
  | { readonly part: "prediction"; readonly count: number };

/** Where a run stands when a decision is due. */
export type Moment = {
  /** Index of the step within the run, from 0. */
  readonly step: number;
  /** Of the noise, 0 to 999. */
  readonly timestep: number;
  /** How many results of earlier steps there are, up to the number that is kept. */
  readonly available: number;
  /** See `Kept.measured`: mean |now - before| / mean |before|; null unless measured, or while nothing is kept. */
  readonly change: number | null;
};

/** What one step does. */
export type Decision<M> = {
  /** Goes into the next decision. */
  readonly memory: M;
  /** Weights of the kept results, newest first, whose sum stands in for the part; null computes it. */
  readonly reuse: readonly number[] | null;
  /**
   * Only samples with the prompt are evaluated. Those without come from what they differed by when they were last
   * evaluated, of which low and high spatial frequencies are multiplied by these.
   */
  readonly unconditional?: { readonly low: number; readonly high: number };
};

/**
 * A feature cache for one run. It is a value: what changes from step to step is the memory, plain data that can be
 * stored as JSON, so that a run can be resumed with it.
 */
export type CachePolicy<M = unknown> = {
  readonly kept: Kept;
  /** The memory before the first step. */
  readonly start: M;
  /** Pure. Parameters `moment` and the memory that the decision before has left. */
  decide(memory: M, moment: Moment): Decision<M>;
  /** Takes note of how a computed result has grown since the last one, see `growthSegment`; null for the first. */
  learn?(memory: M, growth: number | null): M;
  /** Takes note of how far the prediction has moved since the last step: mean |now - before| / mean |before|. */
  observe?(memory: M, change: number | null): M;
};

/** What a cache may know of a run before its first step. */
export type CacheRun = {
  readonly config: TransformerConfig;
  /** In the order of the run. */
  readonly timesteps: readonly number[];
  /** Whether the batch is one sample without the prompt and one with it, in this order. */
  readonly isGuidedPair: boolean;
  /**
   * How far the conditioning vector moves from each step to the next: mean |e_i - e_(i-1)| / mean |e_(i-1)|, 0 for the
   * first. It depends on the timesteps only.
   */
  readonly conditioningChanges: readonly number[];
};

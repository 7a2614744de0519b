/** @file How much of the transformer has been evaluated, and how much was left out. */
import type { BlockRunner } from "../block-runner.ts";

/** Evaluations that were done and those that were left out; one is one block for one sample of the batch. */
export type Count = { readonly done: number; readonly skipped: number };

/** Evaluations of blocks, and of the attention in them. */
export type Evaluations = { readonly blocks: Count; readonly attentions: Count };

/** No evaluations. */
export const noEvaluations: Evaluations = {
  blocks: { done: 0, skipped: 0 },
  attentions: { done: 0, skipped: 0 },
};

/** Both together. */
export function addEvaluations(a: Evaluations, b: Evaluations): Evaluations {
  const sum = (x: Count, y: Count) => ({ done: x.done + y.done, skipped: x.skipped + y.skipped });
  return { blocks: sum(a.blocks, b.blocks), attentions: sum(a.attentions, b.attentions) };
}

/** Counts what runs of the `all` evaluations of one step. */
export class Tally {
  private readonly all: number;
  private readonly done = { blocks: 0, attentions: 0 };

  constructor(all: number) {
    this.all = all;
  }

  /** The same blocks, counted as they run. */
  counting(blocks: BlockRunner): BlockRunner {
    const { done } = this;
    return {
      ...blocks,
      block: (index, streams, options) => {
        done.blocks += streams.video.shape[0];
        done.attentions += streams.video.shape[0];
        return blocks.block(index, streams, options);
      },
      attention: (index, streams) => {
        done.attentions += streams.video.shape[0];
        return blocks.attention(index, streams);
      },
      rest: (index, streams, attended) => {
        done.blocks += streams.video.shape[0];
        return blocks.rest(index, streams, attended);
      },
    };
  }

  evaluations(): Evaluations {
    const count = (done: number) => ({ done, skipped: this.all - done });
    return { blocks: count(this.done.blocks), attentions: count(this.done.attentions) };
  }
}

/** @file A loss cut into links, so that no more than one link's activations are alive while it is differentiated. */
import { ConfigError } from "../../errors.ts";
import type { Segment } from "../../graph/segment.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { LossGraph } from "../learner.ts";

/**
 * One link of the chain. Inputs are what an earlier link gave under the same name, the latest one, or else fed.
 * Links of one segment share its compiled sessions; they differ in their weights.
 */
export type Link = {
  readonly segment: Segment;
  /** Stands before the keys of the segment's parameters, such as `transformer.transformer_blocks.3.`. */
  readonly prefix: string;
};

/** A loss as a chain. The last link gives `loss`, a scalar, and whatever else is to be reported. */
export type SegmentedGraph = {
  /** Names it in messages. */
  readonly name: string;
  readonly links: readonly Link[];
  /** Parameters by checkpoint key; of links that share a segment, they are one tensor under several keys. */
  readonly params: ReadonlyMap<string, Tensor>;
  /** Parameters that lie in files and stay as they are; links then have sessions of their own. */
  readonly frozen?: LossGraph["frozen"];
};

/**
 * Joins links to a chain.
 * @throws ConfigError when the last link gives no loss or two links have a parameter of one key
 */
export function segmentedGraph(
  name: string,
  links: readonly Link[],
  frozen?: LossGraph["frozen"],
): SegmentedGraph {
  if (links.at(-1)?.segment.outputs.loss === undefined)
    throw new ConfigError(`the last segment of ${name} must give "loss", a scalar, and does not`);
  const params = new Map<string, Tensor>();
  for (const { segment, prefix } of links)
    for (const [key, param] of segment.params) {
      if (params.has(prefix + key))
        throw new ConfigError(
          `${name} has the parameter ${prefix + key} in two segments; it may be in one only`,
        );
      params.set(prefix + key, param);
    }
  return { name, links, params, frozen };
}

/** Where the inputs of every link come from: the link that gives them, by input; fed ones are left out. */
export function sourcesOf(links: readonly Link[]): ReadonlyMap<string, number>[] {
  const givers = new Map<string, number>();
  return links.map(({ segment }, index) => {
    const sources = new Map(
      Object.keys(segment.inputs).flatMap((name) => {
        const giver = givers.get(name);
        return giver === undefined ? [] : [[name, giver] as const];
      }),
    );
    for (const name of Object.keys(segment.outputs)) givers.set(name, index);
    return sources;
  });
}

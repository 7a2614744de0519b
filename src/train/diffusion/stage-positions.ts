/** @file Positions of a stage: those of the checkpoint's own rule, counted on, or squeezed into what is known. */
import { ConfigError } from "../../errors.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { type Grid, gridOf, type LatentSize } from "../../models/transformer/grid.ts";
import {
  type Positions,
  positionsFor,
  rotaryCoordinates,
} from "../../models/transformer/positions/positions.ts";
import {
  type Coordinates,
  countingCoordinates,
  rotaryRows,
} from "../../models/transformer/positions/rope.ts";

/**
 * What happens to rotary positions when clips grow from stage to stage:
 * - "checkpoint": what inference uses for a size;
 * - "extrapolate": counted from 0 on every axis, so that a larger clip has positions the model has not seen (what
 *   CogVideoX does when resolution grows: details stay sharp);
 * - "interpolate": on axes longer than those of `base`, the latents of an earlier stage, positions are divided so that
 *   they stay within what the model has seen.
 */
export type StagePositions =
  | { readonly kind: "checkpoint" | "extrapolate" }
  | { readonly kind: "interpolate"; readonly base: LatentSize };

/** Where a stage puts the tokens of a grid, for models whose positions are rotations. */
export function stageCoordinates(
  config: TransformerConfig,
  grid: Grid,
  positions: StagePositions,
): Coordinates {
  switch (positions.kind) {
    case "checkpoint":
      return rotaryCoordinates(config, grid);
    case "extrapolate":
      return countingCoordinates(grid);
    case "interpolate":
      return interpolatedCoordinates(grid, gridOf(config, positions.base));
  }
}

/**
 * Everything about positions that clips of `size` in a stage need.
 * @throws ConfigError when the size does not divide into patches, or the model adds positions and another rule than its
 *   own is asked for
 */
export function stagePositions(
  config: TransformerConfig,
  size: LatentSize,
  textLength: number,
  positions: StagePositions,
): Positions {
  if (positions.kind === "checkpoint") return positionsFor(config, size, textLength);
  if (!config.rotary || config.learnedPositions)
    throw new ConfigError(
      `positions are "${positions.kind}", which only models with rotary positions alone can do; ` +
        'this one adds positions to its tokens: leave them "checkpoint"',
    );
  const grid = gridOf(config, size);
  const axes = stageCoordinates(config, grid, positions);
  return { added: { kind: "none" }, rotary: rotaryRows(grid, axes, textLength, config.headDim) };
}

/** Positions 0 to n - 1, times base / n where an axis is longer than that of `base`. */
export function interpolatedCoordinates(grid: Grid, base: Grid): Coordinates {
  const axis = (count: number, known: number) =>
    Float32Array.from({ length: count }, (_, i) => i * Math.min(1, known / count));
  return {
    t: axis(grid.frames, base.frames),
    y: axis(grid.height, base.height),
    x: axis(grid.width, base.width),
  };
}

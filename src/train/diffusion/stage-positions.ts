/** @file Rotary positions of a stage: those of the checkpoint's own rule, counted on, or squeezed into what is known. */
import { ConfigError } from "../../errors.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { type Grid, gridOf, type LatentSize } from "../../models/transformer/grid.ts";
import { positionsFor } from "../../models/transformer/positions/positions.ts";
import {
  type Coordinates,
  countingCoordinates,
  type RotaryRows,
  rotaryRows,
} from "../../models/transformer/positions/rope.ts";
import type { Stage } from "./stages.ts";

/**
 * Rotary rows `[textLength + N, headDim / 2]` for clips of `size` in a stage, or null where the model has none:
 * - "checkpoint": what inference uses for this size;
 * - "extrapolate": counted from 0 on every axis, so that a larger clip has positions the model has not seen (what
 *   CogVideoX does when resolution grows: details stay sharp);
 * - "interpolate": on axes longer than those of `base`, the size of an earlier stage, positions are divided so that
 *   they stay within what the model has seen.
 * @throws ConfigError when `base` is missing for "interpolate", or the size does not divide into patches
 */
export function stageRotary(
  config: TransformerConfig,
  size: LatentSize,
  textLength: number,
  { positions, base }: Pick<Stage, "positions"> & { readonly base?: LatentSize },
): RotaryRows | null {
  if (!config.rotary) return null;
  if (positions === "checkpoint") return positionsFor(config, size, textLength).rotary;
  if (positions === "interpolate" && base === undefined)
    throw new ConfigError('positions "interpolate" needs the size of the stage whose positions are kept');
  const grid = gridOf(config, size);
  const axes =
    positions === "interpolate" && base
      ? interpolatedCoordinates(grid, gridOf(config, base))
      : countingCoordinates(grid);
  return rotaryRows(grid, axes, textLength, config.headDim);
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

/** @file Which position encoding a checkpoint uses: one interface, chosen by the configuration and the size. */
import { ConfigError } from "../../../errors.ts";
import type { TransformerConfig } from "../config.ts";
import { type Grid, gridOf, type LatentSize } from "../grid.ts";
import { loweredFrequencies, type Riflex, requireRiflex } from "./riflex.ts";
import {
  type Coordinates,
  centredCrop,
  countingCoordinates,
  linspaceCoordinates,
  type RotaryRows,
  rotaryRows,
  temporalFrequencies,
} from "./rope.ts";
import { sincosRows } from "./sincos.ts";

/** Everything about positions that a call of the transformer needs. */
export type Positions = {
  /** What is added to the [text | video] tokens: nothing, rows `[tokens, width]`, or the checkpoint's own table. */
  readonly added:
    | { readonly kind: "none" | "learned" }
    | { readonly kind: "rows"; readonly rows: Float32Array };
  /** How queries and keys turn, or null where they do not. */
  readonly rotary: RotaryRows | null;
};

/**
 * The positions for latents of `size` behind `textLength` text tokens.
 * @param riflex lowers a temporal frequency where the clip is too long for it; none unless given
 * @throws ConfigError when the model cannot place tokens of this size, or has no frequency to lower
 */
export function positionsFor(
  config: TransformerConfig,
  size: LatentSize,
  textLength: number,
  riflex?: Riflex,
): Positions {
  const grid = gridOf(config, size);
  if (riflex !== undefined) requireRiflex(config, riflex);
  return {
    added: addedPositions(config, size, textLength),
    rotary: config.rotary ? rotaryFor(config, grid, textLength, riflex) : null,
  };
}

/**
 * The kind of positions that are added to the tokens of latents of `size`, without making any.
 * @throws ConfigError when the model cannot place tokens of this size
 */
export function addedKind(config: TransformerConfig, size: LatentSize): Positions["added"]["kind"] {
  if (config.rotary) requireTable(config, gridOf(config, size));
  if (config.rotary && !config.learnedPositions) return "none";
  if (!config.learnedPositions) return "rows";
  requireTrainedSize(config, size);
  return size.frames === trainedFrames(config) ? "learned" : "rows";
}

function addedPositions(config: TransformerConfig, size: LatentSize, textLength: number): Positions["added"] {
  const kind = addedKind(config, size);
  if (kind === "none") return { kind };
  requireTextLength(config, textLength);
  if (kind === "learned") return { kind };
  // The reference ignores temporal patches here and takes one token per latent frame.
  const grid = gridOf({ ...config, patchT: null }, size);
  const scale = { spatial: config.spatialScale, temporal: config.temporalScale };
  return { kind, rows: sincosRows(grid, textLength, config.width, scale) };
}

/** Latent frames of the clips a checkpoint was made for. */
export function trainedFrames({ sampleFrames, temporalRatio }: TransformerConfig): number {
  return Math.floor((sampleFrames - 1) / temporalRatio) + 1;
}

function rotaryFor(config: TransformerConfig, grid: Grid, textLength: number, riflex?: Riflex): RotaryRows {
  const own = temporalFrequencies(config.headDim);
  const trained = Math.ceil(trainedFrames(config) / (config.patchT ?? 1));
  const temporal =
    riflex === undefined ? own : loweredFrequencies(own, { riflex, frames: grid.frames, trained });
  return rotaryRows(grid, rotaryCoordinates(config, grid), textLength, config.headDim, temporal);
}

/**
 * Where the rotary positions of a model put the tokens of a grid.
 * @throws ConfigError when the grid is larger than the model's table
 */
export function rotaryCoordinates(config: TransformerConfig, grid: Grid): Coordinates {
  if (config.patchT === null) return linspaceCoordinates(grid, centredCrop(grid, trainedGrid(config)));
  requireTable(config, grid);
  return countingCoordinates(grid);
}

/** Tokens across the pictures that a checkpoint was made for. */
function trainedGrid({ sampleHeight, sampleWidth, patch }: TransformerConfig): Omit<Grid, "frames"> {
  return { height: Math.floor(sampleHeight / patch), width: Math.floor(sampleWidth / patch) };
}

/** Models with temporal patches look positions up in a table, which ends. */
function requireTable(config: TransformerConfig, grid: Grid): void {
  const base = trainedGrid(config);
  if (config.patchT === null || (grid.height <= base.height && grid.width <= base.width)) return;
  throw new ConfigError(
    `a grid of ${grid.width}x${grid.height} tokens is larger than the model's table of ${base.width}x${base.height}; ` +
      `at most ${base.width * 16}x${base.height * 16} pixels fit`,
  );
}

function requireTextLength({ maxTextLength }: TransformerConfig, textLength: number): void {
  if (textLength !== maxTextLength)
    throw new ConfigError(
      `this model adds positions to exactly ${maxTextLength} text tokens, got ${textLength}; ` +
        "leave the maximum sequence length at the model's own",
    );
}

function requireTrainedSize(
  { sampleWidth, sampleHeight }: TransformerConfig,
  { width, height }: LatentSize,
): void {
  if (width !== sampleWidth || height !== sampleHeight)
    throw new ConfigError(
      `this model has learned positions for ${sampleWidth * 8}x${sampleHeight * 8} pixels only, ` +
        `got ${width * 8}x${height * 8}`,
    );
}

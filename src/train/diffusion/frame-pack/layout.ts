/** @file Where the samples of a packed row lie, and what every token of it is. */
import type { TransformerConfig } from "../../../models/transformer/config.ts";
import { type Grid, gridOf, type LatentSize, tokensOf } from "../../../models/transformer/grid.ts";
import {
  type Coordinates,
  countingCoordinates,
  type RotaryRows,
  rotaryRowsAt,
  tokenCoordinates,
} from "../../../models/transformer/positions/rope.ts";

/** A range of tokens, `end` exclusive. */
export type Span = { readonly start: number; readonly end: number };

/** One sample of a row. */
export type PackedSegment = {
  /** Size of its latents; an image is a clip of one frame. */
  readonly size: LatentSize;
  readonly grid: Grid;
  /** Its tokens in the text stream, and in the video stream. */
  readonly text: Span;
  readonly video: Span;
};

/** A row: the texts of all samples, then the videos of all samples, in the same order. */
export type RowLayout = {
  readonly segments: readonly PackedSegment[];
  readonly textLength: number;
  readonly textTokens: number;
  readonly videoTokens: number;
};

/** What each token of the joint sequence `[texts | videos]` is. */
export type TokenTable = {
  /** Index of its sample in the row. */
  readonly segment: Int32Array;
  /** 0 text, 1 video. */
  readonly modality: Uint8Array;
  /** Its place in its own clip, from 0; text has `TEXT` on every axis. */
  readonly coordinates: Coordinates;
};

/**
 * The layout of a row of samples with latents of these sizes (after repetition of first frames), each behind
 * `textLength` text tokens. @throws ConfigError when a size does not divide into patches
 */
export function rowLayout(
  config: TransformerConfig,
  sizes: readonly LatentSize[],
  textLength: number,
): RowLayout {
  let videoTokens = 0;
  const segments = sizes.map((size, i) => {
    const grid = gridOf(config, size);
    const start = videoTokens;
    videoTokens += tokensOf(grid);
    const text = { start: i * textLength, end: (i + 1) * textLength };
    return { size, grid, text, video: { start, end: videoTokens } };
  });
  return { segments, textLength, textTokens: sizes.length * textLength, videoTokens };
}

/** How a clip of a grid is placed: by default counted from 0 on every axis. */
export type Placement = (grid: Grid) => Coordinates;

/** What every token of a row is. Each clip has its own origin, wherever it lies in the row. */
export function tokenTable(layout: RowLayout, placement: Placement = countingCoordinates): TokenTable {
  const { segments, textLength, textTokens, videoTokens } = layout;
  const tokens = textTokens + videoTokens;
  const segment = new Int32Array(tokens);
  const modality = new Uint8Array(tokens).fill(1, textTokens);
  const [t, y, x] = [0, 1, 2].map(() => new Float32Array(tokens));
  for (const [i, { grid, text, video }] of segments.entries()) {
    const own = tokenCoordinates(grid, placement(grid), textLength);
    for (const [all, part] of [
      [t, own.t],
      [y, own.y],
      [x, own.x],
    ] as const) {
      const values = Float32Array.from(part);
      all.set(values.subarray(0, textLength), text.start);
      all.set(values.subarray(textLength), textTokens + video.start);
    }
    segment.fill(i, text.start, text.end).fill(i, textTokens + video.start, textTokens + video.end);
  }
  return { segment, modality, coordinates: { t, y, x } };
}

/** Rotary rows of the joint sequence, `[S, headDim / 2]`, gathered by every token's coordinates. */
export function packedRotary(layout: RowLayout, headDim: number, placement?: Placement): RotaryRows {
  return rotaryRowsAt(tokenTable(layout, placement).coordinates, headDim);
}

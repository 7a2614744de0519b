/** @file Small pictures of latents without the VAE: a linear map from latent channels to red, green and blue. */
import { sizeOf } from "../graph/shape.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { SPATIAL_RATIO } from "./clip-size.ts";
import type { PipelineEvent } from "./events.ts";

/** Colour in [-1, 1] of a place of the latents, scaled as the transformer sees them: `weights x + bias`. */
export type LatentRgb = {
  /** `[3][L]` */
  readonly weights: readonly (readonly number[])[];
  /** `[3]` */
  readonly bias: readonly number[];
  /** Share of the colours' variance that the map explains, 0 to 1. */
  readonly r2: number;
  /** Places that the map was fitted on. */
  readonly samples: number;
};

/** A way to look at clean latents `[F, L, h, w]` of so many channels: frames `[T, H, W, 3]` in [0, 1]. */
export type Look = {
  readonly channels: number;
  readonly show: (clean: HostTensor) => HostTensor | Promise<HostTensor>;
};

/** A look at a clip after `step`, from 1: what that step takes for the clean clip, `frames [T, H, W, 3]` in [0, 1]. */
export type PreviewEvent = { readonly kind: "preview"; readonly step: number; readonly frames: HostTensor };

/**
 * The least-squares map from latents `[F, L, h, w]` to the colours `[F, 3, h, w]` of the same places.
 * A ridge of a millionth keeps channels that never change from mattering.
 */
export function fitLatentRgb(latents: HostTensor, colours: HostTensor): LatentRgb {
  const rows = placesOf(latents);
  const targets = placesOf(colours);
  const unknowns = rows[0].length + 1;
  const moments = Array.from({ length: unknowns }, () => new Float64Array(unknowns + 3));
  for (const [n, row] of rows.entries()) {
    const x = [...row, 1];
    for (let i = 0; i < unknowns; i++) {
      for (let j = 0; j < unknowns; j++) moments[i][j] += x[i] * x[j];
      for (let c = 0; c < 3; c++) moments[i][unknowns + c] += x[i] * targets[n][c];
    }
  }
  for (let i = 0; i < unknowns - 1; i++) moments[i][i] += 1e-6 * rows.length;
  const solution = solve(moments, unknowns);
  const weights = [0, 1, 2].map((c) => solution.slice(0, -1).map((row) => row[c]));
  const bias = [...solution[unknowns - 1]];
  return { weights, bias, r2: explained(rows, targets, { weights, bias }), samples: rows.length };
}

/** What a map makes of latents `[F, L, h, w]`: frames `[F, h, w, 3]` in [0, 1]. */
export function framesThrough({ weights, bias }: LatentRgb, latents: HostTensor): HostTensor {
  const [frames, , height, width] = latents.shape;
  const data = new Float32Array(frames * height * width * 3);
  for (const [n, row] of placesOf(latents).entries())
    for (let c = 0; c < 3; c++) {
      const value = 0.5 + 0.5 * colourOf(row, weights[c], bias[c]);
      data[3 * n + c] = Math.min(Math.max(value, 0), 1);
    }
  return { dtype: "f32", shape: [frames, height, width, 3], data };
}

/** The look through a linear map: a pixel for each place of the latents, and a frame for each of theirs. */
export function lookThrough(map: LatentRgb): Look {
  return { channels: map.weights[0].length, show: (clean) => framesThrough(map, clean) };
}

/**
 * The events of a run with a preview after every step, through a map (a pixel for each place of the latents) or as a look
 * shows it. @throws what the run and the look throw
 */
export async function* withPreviews(
  events: AsyncIterable<PipelineEvent>,
  through: LatentRgb | Look,
): AsyncGenerator<PipelineEvent | PreviewEvent> {
  const look = "show" in through ? through : lookThrough(through);
  let size: { width: number; height: number; frames?: unknown } | null = null;
  for await (const event of events) {
    yield event;
    if (event.kind === "started") size = { ...event, frames: event.recipe.frames };
    if (event.kind !== "step" || size === null) continue;
    const clean = event.state.history.at(-1) ?? event.state.latents;
    const own = withoutPadding(clipOf(clean, look.channels, size), size.frames);
    yield { kind: "preview", step: event.step, frames: await look.show(own) };
  }
}

function clipOf(data: Float32Array, channels: number, size: { width: number; height: number }): HostTensor {
  const [height, width] = [size.height / SPATIAL_RATIO, size.width / SPATIAL_RATIO];
  return { dtype: "f32", shape: [data.length / (channels * height * width), channels, height, width], data };
}

/** Without the leading frames that fill temporal patches and do not belong to the clip of so many pixel frames. */
function withoutPadding(clip: HostTensor, pixelFrames: unknown): HostTensor {
  const own = typeof pixelFrames === "number" ? Math.ceil(pixelFrames / 4) : clip.shape[0];
  const [frames, ...place] = clip.shape;
  const skip = Math.max(0, frames - own);
  return { ...clip, shape: [frames - skip, ...place], data: clip.data.slice(skip * sizeOf(place)) };
}

/** The channels of every place of `[F, C, h, w]`, frame by frame, row by row. */
function placesOf({ shape: [frames, channels, height, width], data }: HostTensor): number[][] {
  const plane = height * width;
  return Array.from({ length: frames * plane }, (_, n) => {
    const at = Math.floor(n / plane) * channels * plane + (n % plane);
    return Array.from({ length: channels }, (_, c) => (data as Float32Array)[at + c * plane]);
  });
}

function colourOf(row: readonly number[], weights: readonly number[], bias: number): number {
  return row.reduce((sum, x, i) => sum + weights[i] * x, bias);
}

function explained(
  rows: readonly number[][],
  targets: readonly number[][],
  { weights, bias }: Pick<LatentRgb, "weights" | "bias">,
): number {
  let left = 0;
  let all = 0;
  for (let c = 0; c < 3; c++) {
    const mean = targets.reduce((sum, target) => sum + target[c], 0) / targets.length;
    for (const [n, target] of targets.entries()) {
      left += (target[c] - colourOf(rows[n], weights[c], bias[c])) ** 2;
      all += (target[c] - mean) ** 2;
    }
  }
  return all === 0 ? 1 : 1 - left / all;
}

/** Gauss-Jordan with pivots: `count` equations, each with its coefficients and three right-hand sides. */
function solve(equations: Float64Array[], count: number): number[][] {
  for (let i = 0; i < count; i++) {
    let pivot = i;
    for (let k = i + 1; k < count; k++)
      if (Math.abs(equations[k][i]) > Math.abs(equations[pivot][i])) pivot = k;
    [equations[i], equations[pivot]] = [equations[pivot], equations[i]];
    for (let k = 0; k < count; k++) {
      if (k === i) continue;
      const factor = equations[k][i] / equations[i][i];
      for (let j = i; j < count + 3; j++) equations[k][j] -= factor * equations[i][j];
    }
  }
  return equations.map((row, i) => [0, 1, 2].map((c) => row[count + c] / row[i]));
}

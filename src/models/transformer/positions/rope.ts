/** @file 3D rotary positions: every video token turns its query and key by angles of its (t, y, x). */
import type { Grid } from "../grid.ts";

/** Coordinates of every token along the three axes; whole numbers or, where a grid is interpolated, fractions. */
export type Coordinates = {
  readonly t: ArrayLike<number>;
  readonly y: ArrayLike<number>;
  readonly x: ArrayLike<number>;
};

/** Cosine and sine rows `[tokens, headDim / 2]`, one entry per channel pair. */
export type RotaryRows = { readonly cos: Float32Array; readonly sin: Float32Array };

/** A rectangle in the grid the model was trained on, in tokens. */
export type Crop = {
  readonly top: number;
  readonly left: number;
  readonly bottom: number;
  readonly right: number;
};

/** The coordinate of text tokens, which are not rotated. */
export const TEXT = -1;

/** Rows for text followed by video. */
export function rotaryRows(
  grid: Grid,
  axes: Coordinates,
  textLength: number,
  headDim: number,
  temporal?: Float32Array,
): RotaryRows {
  return rotaryRowsAt(tokenCoordinates(grid, axes, textLength), headDim, temporal);
}

/** Coordinates token by token: `textLength` times `TEXT`, then the video in the order of its tokens. */
export function tokenCoordinates(grid: Grid, axes: Coordinates, textLength: number): Coordinates {
  const tokens = textLength + grid.frames * grid.height * grid.width;
  const [t, y, x] = [0, 1, 2].map(() => new Float32Array(tokens).fill(TEXT));
  let at = textLength;
  for (let k = 0; k < grid.frames; k++)
    for (let j = 0; j < grid.height; j++)
      for (let i = 0; i < grid.width; i++) {
        t[at] = axes.t[k];
        y[at] = axes.y[j];
        x[at++] = axes.x[i];
      }
  return { t, y, x };
}

/**
 * Rows for one token after the other, each at coordinates of its own. Text rows are cos = 1, sin = 0.
 * A head's channels divide into t (1/4), y (3/8) and x (3/8), in this order; angles are position · 10000^(-2j / d), in
 * float32 as the reference computes them.
 * @param temporal frequencies of t in place of the model's own
 */
export function rotaryRowsAt(
  { t, y, x }: Coordinates,
  headDim: number,
  temporal = temporalFrequencies(headDim),
): RotaryRows {
  const axes = [
    { positions: t, frequencies: temporal },
    { positions: y, frequencies: frequenciesOf((headDim / 8) * 3) },
    { positions: x, frequencies: frequenciesOf((headDim / 8) * 3) },
  ];
  const half = headDim / 2;
  const cos = new Float32Array(t.length * half).fill(1);
  const sin = new Float32Array(t.length * half);
  for (let token = 0; token < t.length; token++) {
    if (t[token] === TEXT) continue;
    let at = token * half;
    for (const { positions, frequencies } of axes)
      for (const frequency of frequencies) {
        const angle = Math.fround(Math.fround(positions[token]) * frequency);
        cos[at] = Math.cos(angle);
        sin[at++] = Math.sin(angle);
      }
  }
  return { cos, sin };
}

/** CogVideoX 1.0: positions sampled evenly from the crop of the training grid that has the video's proportions. */
export function linspaceCoordinates(grid: Grid, crop: Crop): Coordinates {
  const { frames, height, width } = grid;
  return {
    t: linspace(0, (frames * (frames - 1)) / frames, frames),
    y: linspace(crop.top, (crop.bottom * (height - 1)) / height, height),
    x: linspace(crop.left, (crop.right * (width - 1)) / width, width),
  };
}

/** CogVideoX 1.5: plain counting from zero on every axis. */
export function countingCoordinates({ frames, height, width }: Grid): Coordinates {
  const count = (n: number) => Float32Array.from({ length: n }, (_, i) => i);
  return { t: count(frames), y: count(height), x: count(width) };
}

/** The centred part of a `base` grid that a grid of other proportions fills when its longer side is fitted. */
export function centredCrop(
  { height, width }: Pick<Grid, "height" | "width">,
  base: { readonly height: number; readonly width: number },
): Crop {
  const tall = height / width > base.height / base.width;
  const fitted = tall
    ? { height: base.height, width: roundHalfEven((base.height / height) * width) }
    : { height: roundHalfEven((base.width / width) * height), width: base.width };
  const top = roundHalfEven((base.height - fitted.height) / 2);
  const left = roundHalfEven((base.width - fitted.width) / 2);
  return { top, left, bottom: top + fitted.height, right: left + fitted.width };
}

/** Python's round: halves go to the even neighbour. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  if (fraction !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Float32 steps from both ends towards the middle, as the reference's tensor library makes them. */
function linspace(start: number, end: number, count: number): Float32Array {
  const first = Math.fround(start);
  const last = Math.fround(end);
  const step = count > 1 ? Math.fround((last - first) / (count - 1)) : 0;
  return Float32Array.from({ length: count }, (_, i) =>
    i < count / 2 ? first + step * i : last - step * (count - 1 - i),
  );
}

/** Frequencies of the channel pairs that turn with time, the fastest first. */
export function temporalFrequencies(headDim: number): Float32Array {
  return frequenciesOf(headDim / 4);
}

/** 10000^(-2j / channels) for every channel pair. */
function frequenciesOf(channels: number): Float32Array {
  return Float32Array.from({ length: channels / 2 }, (_, j) =>
    Math.fround(1 / Math.fround(10000 ** Math.fround((2 * j) / channels))),
  );
}

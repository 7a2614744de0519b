/** @file Frame pack: samples of all sizes and lengths side by side in rows of a token capacity. */
import { ConfigError } from "../../../errors.ts";

/** How samples are packed. */
export type PackOptions = {
  /** Most tokens of a row, text included. */
  readonly capacity: number;
  /** Samples that are sorted into rows together; more of them fill rows better and mix the order more. */
  readonly window?: number;
  /** Rows that are less full than this give their samples to the next window, but for the last one. */
  readonly threshold?: number;
};

/**
 * Rows of sample indices for samples of `tokens` each (text included), by first fit over samples from long to short,
 * window by window: every sample in exactly one row, no row above the capacity. Within a row, long samples come first.
 * A pure function, so that a resumed run packs what the first run packed.
 * @throws ConfigError when a sample alone is above the capacity
 */
export function packSamples(
  tokens: readonly number[],
  { capacity, window = 256, threshold = 0.9 }: PackOptions,
): number[][] {
  checkTokens(tokens, capacity);
  const full: number[][] = [];
  let left: number[] = [];
  for (let start = 0; start < tokens.length; start += window) {
    const end = Math.min(start + window, tokens.length);
    const added = Array.from({ length: end - start }, (_, i) => start + i);
    const rows = firstFit([...left, ...added], tokens, capacity);
    const isLast = end === tokens.length;
    const done = rows.filter((row) => isLast || tokensOfRow(row, tokens) >= threshold * capacity);
    left = rows.filter((row) => !done.includes(row)).flat();
    full.push(...done);
  }
  return full;
}

/** Samples from long to short, each into the first row that has room; samples of one length keep their order. */
function firstFit(samples: readonly number[], tokens: readonly number[], capacity: number): number[][] {
  const rows: { readonly samples: number[]; room: number }[] = [];
  for (const sample of samples.toSorted((a, b) => tokens[b] - tokens[a] || a - b)) {
    const fitting = rows.find(({ room }) => room >= tokens[sample]);
    const row = fitting ?? { samples: [], room: capacity };
    if (fitting === undefined) rows.push(row);
    row.samples.push(sample);
    row.room -= tokens[sample];
  }
  return rows.map(({ samples }) => samples);
}

function checkTokens(tokens: readonly number[], capacity: number): void {
  const at = tokens.findIndex((count) => count > capacity);
  if (at >= 0)
    throw new ConfigError(
      `sample ${at} has ${tokens[at]} tokens, a row has room for ${capacity}; ` +
        "raise the capacity, or cut the clip to the frames that fit",
    );
}

/** Tokens in rows as a share of what the rows could hold, 0 to 1. */
export function packingEfficiency(
  rows: readonly (readonly number[])[],
  tokens: readonly number[],
  capacity: number,
): number {
  const used = rows.reduce((sum, row) => sum + tokensOfRow(row, tokens), 0);
  return rows.length === 0 ? 1 : used / (rows.length * capacity);
}

function tokensOfRow(row: readonly number[], tokens: readonly number[]): number {
  return row.reduce((sum, sample) => sum + tokens[sample], 0);
}

/**
 * How many of `latentFrames` fit in a row together with the text, 0 if none do; L latent frames are 4 (L - 1) + 1 pixel
 * frames. `tokensPerFrame` is the height times the width of the grid of patches.
 */
export function framesThatFit(
  latentFrames: number,
  {
    tokensPerFrame,
    textLength,
    patchT,
  }: { tokensPerFrame: number; textLength: number; patchT: number | null },
  capacity: number,
): number {
  const patches = Math.max(0, Math.floor((capacity - textLength) / tokensPerFrame));
  // Fewer frames than the patches hold are filled up at the front, which takes no more patches.
  return Math.min(latentFrames, patches * (patchT ?? 1));
}

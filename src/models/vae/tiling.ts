/** @file Overlapping tiles: where they lie, and how their results are blended into one picture. */
import { ConfigError } from "../../errors.ts";
import { spatialRatio, type VaeConfig } from "./config.ts";

/** Tile sizes and overlaps; the reference's unless given. Sizes are in pixels. */
export type TilingOptions = {
  readonly tileHeight?: number;
  readonly tileWidth?: number;
  /** Share of a tile's height that overlaps the tile above, 0 to 1. */
  readonly overlapHeight?: number;
  /** Share of a tile's width that overlaps the tile to the left, 0 to 1. */
  readonly overlapWidth?: number;
};

/** One axis of a tiling, in units of what goes in, except for `blend` and `keep`, which are of what comes out. */
export type TileAxis = {
  readonly size: number;
  readonly stride: number;
  readonly blend: number;
  readonly keep: number;
};

export type Tiling = { readonly height: TileAxis; readonly width: TileAxis };

/** A picture or clip as planes: `[planes, height, width]`. */
export type Planes = {
  readonly data: Float32Array;
  readonly planes: number;
  readonly height: number;
  readonly width: number;
};

const OVERLAP = { height: 1 / 6, width: 1 / 5 };
/** A share such as 8 / 392 of 392 is 8, and not the 7 below it. */
const ROUNDING = 1e-9;

/**
 * The tiling of latents that are decoded or pixels that are encoded.
 * @param asked true for the reference's sizes
 * @throws ConfigError when what tiles contribute would not line up with where they start
 */
export function tilingFor(
  config: VaeConfig,
  direction: "encode" | "decode",
  asked: true | TilingOptions = true,
): Tiling {
  const options = asked === true ? {} : asked;
  const ratio = spatialRatio(config);
  const axis = (pixels: number, overlap: number): TileAxis => {
    const latents = Math.floor(pixels / ratio);
    const [size, made] = direction === "encode" ? [pixels, latents] : [latents, pixels];
    const blend = Math.floor(made * overlap + ROUNDING);
    const stride = Math.floor(size * (1 - overlap) + ROUNDING);
    const [starts, kept] =
      direction === "encode" ? [stride, (made - blend) * ratio] : [stride * ratio, made - blend];
    if (starts !== kept || stride < 1)
      throw new ConfigError(
        `tiles of ${pixels} pixels that overlap by ${overlap.toFixed(3)} would start every ${starts} pixels and ` +
          `contribute ${kept}; choose a size and an overlap for which both agree, or work without tiling`,
      );
    return { size, stride, blend, keep: made - blend };
  };
  return {
    height: axis(
      options.tileHeight ?? Math.floor(config.sampleHeight / 2),
      options.overlapHeight ?? OVERLAP.height,
    ),
    width: axis(
      options.tileWidth ?? Math.floor(config.sampleWidth / 2),
      options.overlapWidth ?? OVERLAP.width,
    ),
  };
}

/** Starts of the tiles along an axis of `length`. */
export function tileStarts(length: number, { stride }: TileAxis): number[] {
  return Array.from({ length: Math.ceil(length / stride) }, (_, i) => i * stride);
}

/** Whether something of this size is tiled at all: only when it exceeds one tile. */
export function needsTiles({ height, width }: { height: number; width: number }, tiling: Tiling): boolean {
  return height > tiling.height.size || width > tiling.width.size;
}

/**
 * Blends rows of tiles into one. Each tile is blended with the one above and the one to the left as these are after
 * their own blending, uncropped, as the reference does it in place; then every tile is cropped to what it contributes.
 */
export function blendTiles(rows: readonly (readonly Planes[])[], tiling: Tiling): Planes {
  for (const [i, row] of rows.entries())
    for (const [j, tile] of row.entries()) {
      if (i > 0) blendDown(rows[i - 1][j], tile, tiling.height.blend);
      if (j > 0) blendAcross(row[j - 1], tile, tiling.width.blend);
    }
  return assemble(rows, tiling);
}

function blendDown(above: Planes, tile: Planes, extent: number): void {
  const n = Math.min(above.height, tile.height, extent);
  for (let p = 0; p < tile.planes; p++)
    for (let y = 0; y < n; y++) {
      const share = y / n;
      const from = (p * above.height + above.height - n + y) * above.width;
      const to = (p * tile.height + y) * tile.width;
      for (let x = 0; x < tile.width; x++)
        tile.data[to + x] = above.data[from + x] * (1 - share) + tile.data[to + x] * share;
    }
}

function blendAcross(left: Planes, tile: Planes, extent: number): void {
  const n = Math.min(left.width, tile.width, extent);
  for (let line = 0; line < tile.planes * tile.height; line++)
    for (let x = 0; x < n; x++) {
      const share = x / n;
      const from = line * left.width + left.width - n + x;
      const to = line * tile.width + x;
      tile.data[to] = left.data[from] * (1 - share) + tile.data[to] * share;
    }
}

function assemble(rows: readonly (readonly Planes[])[], tiling: Tiling): Planes {
  const heights = rows.map(([first]) => Math.min(first.height, tiling.height.keep));
  const widths = rows[0].map((tile) => Math.min(tile.width, tiling.width.keep));
  const [height, width] = [sum(heights), sum(widths)];
  const { planes } = rows[0][0];
  const data = new Float32Array(planes * height * width);
  for (const [i, row] of rows.entries())
    for (const [j, tile] of row.entries())
      for (let p = 0; p < planes; p++)
        for (let y = 0; y < heights[i]; y++) {
          const from = (p * tile.height + y) * tile.width;
          const to = (p * height + sum(heights.slice(0, i)) + y) * width + sum(widths.slice(0, j));
          data.set(tile.data.subarray(from, from + widths[j]), to);
        }
  return { data, planes, height, width };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

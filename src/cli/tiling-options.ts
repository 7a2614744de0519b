/** @file Options for a VAE that works in overlapping tiles. */
import { ConfigError } from "../errors.ts";
import type { TilingOptions } from "../models/vae/tiling.ts";
import type { OptionTable, OptionValues } from "./options.ts";

/** Whether there are tiles, and of which size. */
export const tilingOptions = {
  tiling: {
    kind: "flag",
    about: "encode and decode in overlapping tiles: less memory, slightly different pixels",
  },
  "tile-size": {
    kind: "text",
    value: "WxH",
    about: "with --tiling, pixels of a tile (half of the size that the VAE was trained for)",
  },
  "tile-overlap": {
    kind: "text",
    value: "WxH",
    about: "with --tile-size, pixels that neighbours share (about a sixth)",
  },
} as const satisfies OptionTable;

/** Pixels of a latent: tiles that are whole numbers of them line up. */
const UNIT = 8;

/** What the options ask for. @throws ConfigError for options without their companion, and sizes that are none */
export function tilingOf(values: OptionValues<typeof tilingOptions>): boolean | TilingOptions | undefined {
  const { tiling, "tile-size": size, "tile-overlap": overlap } = values;
  if (size === undefined && overlap !== undefined) throw new ConfigError("--tile-overlap needs --tile-size");
  if (size === undefined) return tiling;
  if (!tiling) throw new ConfigError("--tile-size needs --tiling");
  const [width, height] = parseSize("tile-size", size);
  const [across, down] =
    overlap === undefined ? [width, height].map(usual) : parseSize("tile-overlap", overlap);
  if (2 * across > width || 2 * down > height)
    throw new ConfigError(
      `--tile-overlap must be at most half of the tile, ${width / 2}x${height / 2}, got ${across}x${down}`,
    );
  return { tileWidth: width, tileHeight: height, overlapWidth: across / width, overlapHeight: down / height };
}

/** The options that `tilingOf` makes such tiles of; a recipe may say anything. */
export function tilingTexts(tiles: Readonly<Record<string, unknown>>) {
  const [width, height] = [Number(tiles.tileWidth), Number(tiles.tileHeight)];
  const overlaps = [width * Number(tiles.overlapWidth), height * Number(tiles.overlapHeight)];
  return {
    tiling: true,
    "tile-size": `${width}x${height}`,
    "tile-overlap": overlaps.map(Math.round).join("x"),
  };
}

function usual(side: number): number {
  return Math.max(UNIT, Math.round(side / 6 / UNIT) * UNIT);
}

function parseSize(name: keyof typeof tilingOptions, text: string): [width: number, height: number] {
  const [width, height] = /^(\d+)x(\d+)$/.exec(text)?.slice(1).map(Number) ?? [0, 0];
  if (width >= UNIT && height >= UNIT && width % UNIT === 0 && height % UNIT === 0) return [width, height];
  throw new ConfigError(
    `--${name} must be width x height in multiples of ${UNIT} pixels, such as 240x160, got "${text}"`,
  );
}

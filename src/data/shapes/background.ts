/** @file Draws backgrounds: a tone, plain or with a soft gradient or a faint texture, under a camera that may move. */
import type { Background, View } from "./scene.ts";
import { type Pattern, type Rgb, tones } from "./vocabulary.ts";

/** Width and height in pixels. */
export interface FrameSize {
  readonly width: number;
  readonly height: number;
}

/** Distance of lines and dots and of stripes, in shares of the shorter side. */
const PERIOD = { grid: 0.16, dots: 0.16, stripes: 0.2 } as const;
const LINE = 0.012;
const DOT = 0.034;

/** How far textures, and the ends of a gradient, are from the tone, in 0..255: lighter on dark tones, else darker. */
const CONTRAST = { dark: 30, pale: -26 } as const;
const GRADIENT = { dark: 34, pale: -38 } as const;

/** One frame of a background: RGB bytes `[height, width, 3]`. */
export function drawBackground({ tone, pattern }: Background, view: View, size: FrameSize): Uint8Array {
  const { width, height } = size;
  const rgb = new Uint8Array(width * height * 3);
  const base = tones[tone];
  const side = Math.min(width, height);
  const pixel = view.zoom * side;
  const gradient = (isDark(base) ? GRADIENT.dark : GRADIENT.pale) / height;
  const contrast = isDark(base) ? CONTRAST.dark : CONTRAST.pale;
  let at = 0;
  for (let row = 0; row < height; row++) {
    const y = (row + 0.5 - height / 2) / pixel;
    for (let column = 0; column < width; column++) {
      const x = (column + 0.5 - width / 2) / pixel + view.shift;
      const tint =
        pattern === "gradient" ? gradient * (row + 0.5) : contrast * textureAt(pattern, x, y, pixel);
      rgb[at++] = toByte(base[0] + tint);
      rgb[at++] = toByte(base[1] + tint);
      rgb[at++] = toByte(base[2] + tint);
    }
  }
  return rgb;
}

function isDark([red, green, blue]: Rgb): boolean {
  return red + green + blue < 3 * 150;
}

/** How much of the pixel at (x, y) the texture covers, 0..1, where a pixel is 1 / `pixel` wide. */
function textureAt(pattern: Pattern, x: number, y: number, pixel: number): number {
  if (pattern === "stripes") return coverage((toCentre(x, PERIOD.stripes) - PERIOD.stripes / 4) * pixel);
  if (pattern === "grid") {
    const line = Math.min(toCentre(x, PERIOD.grid), toCentre(y, PERIOD.grid));
    return coverage((line - LINE) * pixel);
  }
  if (pattern === "dots") {
    const distance = Math.hypot(toCentre(x, PERIOD.dots), toCentre(y, PERIOD.dots));
    return coverage((distance - DOT) * pixel);
  }
  return 0;
}

/** Distance to the nearest multiple of the period that is a half off, so that the middle of the frame lies between. */
function toCentre(value: number, period: number): number {
  const share = value / period;
  return Math.abs(share - Math.floor(share) - 0.5) * period;
}

/** How much of a pixel lies inside an edge that is `distance` pixels away. */
export function coverage(distance: number): number {
  return distance >= 0.5 ? 0 : distance <= -0.5 ? 1 : 0.5 - distance;
}

function toByte(value: number): number {
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.round(value);
}

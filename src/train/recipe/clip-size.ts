/** @file Sizes of pictures and clips: how a recipe writes them, how messages name them, which fits into which. */
import type { PixelSize } from "../../media/frames.ts";
import type { VaeConfig } from "../../models/vae/config.ts";

/** Length in frames, and pixels. */
export type ClipSize = PixelSize & { readonly frames: number };

/** What `size` says in a recipe: 64 for a square, "720x480" for width by height; null for anything else. */
export function pixelSizeOf(value: unknown): PixelSize | null {
  const [width, height] = sidesOf(value);
  const isSide = (side: number) => Number.isSafeInteger(side) && side > 0;
  return isSide(width) && isSide(height) ? { width, height } : null;
}

function sidesOf(value: unknown): readonly number[] {
  if (typeof value === "number") return [value, value];
  if (typeof value !== "string") return [];
  return /^(\d+)x(\d+)$/.exec(value)?.slice(1).map(Number) ?? [];
}

/** Frames and pixels of a recipe's part, those of `whole` where it leaves them out. */
export function clipSizeOf(
  part: { readonly frames?: number; readonly size?: PixelSize },
  whole: { readonly frames: number; readonly size: PixelSize },
): ClipSize {
  const { width, height } = part.size ?? whole.size;
  return { frames: part.frames ?? whole.frames, width, height };
}

/** The shape `[T, 3, H, W]` of a clip's pixels. */
export function clipShape(
  { frames, height, width }: ClipSize,
  { inChannels }: Pick<VaeConfig, "inChannels">,
): readonly number[] {
  return [frames, inChannels, height, width];
}

/** The pictures that a model is shown of clips: whole ones, or square windows with sides of `crop` pixels. */
export function shownSize(crop: number | null, size: PixelSize): PixelSize {
  return crop === null ? size : { width: crop, height: crop };
}

/** Whether clips of a size can be cut from clips of another. */
export function fitsInto(size: ClipSize, whole: ClipSize): boolean {
  return size.frames <= whole.frames && size.width <= whole.width && size.height <= whole.height;
}

/** Such as "64x48". */
export function showPixels({ width, height }: PixelSize): string {
  return `${width}x${height}`;
}

/** Such as "9 frames of 64x48": equal for equal sizes alone. */
export function sizeKey(size: ClipSize): string {
  return `${size.frames} frames of ${showPixels(size)}`;
}

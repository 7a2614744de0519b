/** @file Brings a picture of any size and shape to the size of a clip. */
import type { PixelSize, RgbImage } from "./frames.ts";
import { resizeLanczos } from "./resize.ts";

/** Every `Fit`. */
export const fits = ["crop", "pad", "stretch"] as const;
/**
 * How a picture of another shape is brought to the clip's: "crop" fills the clip and cuts what sticks out at both
 * sides alike, "pad" shows all of it on black, "stretch" pulls it into shape, as the reference's pipelines do.
 */
export type Fit = (typeof fits)[number];

/** The picture at `size`, resampled by `resizeLanczos`. */
export function fitImage(image: RgbImage, size: PixelSize, fit: Fit): RgbImage {
  if (fit === "stretch") return resizeLanczos(image, size);
  const [across, down] = [size.width / image.width, size.height / image.height];
  const scale = fit === "crop" ? Math.max(across, down) : Math.min(across, down);
  const scaled = {
    width: Math.max(1, Math.round(image.width * scale)),
    height: Math.max(1, Math.round(image.height * scale)),
  };
  if (fit === "pad") return centred(resizeLanczos(image, scaled), size);
  const left = Math.floor((scaled.width - size.width) / 2);
  const top = Math.floor((scaled.height - size.height) / 2);
  return resizeLanczos(image, scaled, { ...size, left, top });
}

/** The picture in the middle of a black one that is at least as large. */
function centred(image: RgbImage, { width, height }: PixelSize): RgbImage {
  if (image.width === width && image.height === height) return image;
  const rgb = new Uint8Array(width * height * 3);
  const left = Math.floor((width - image.width) / 2);
  const top = Math.floor((height - image.height) / 2);
  const line = image.width * 3;
  for (let y = 0; y < image.height; y++)
    rgb.set(image.rgb.subarray(y * line, (y + 1) * line), ((top + y) * width + left) * 3);
  return { rgb, width, height };
}

/** @file A picture as a data URL, small enough to be sent along with a question about it. */
import sharp from "sharp";
import { type PictureSource, readPicture } from "./pictures.ts";

/** Pixels of the longer side; language models look at no more. */
const LONGEST = 768;

/** A JPEG of at most 768 pixels a side. @throws ConfigError for what is missing, damaged or no picture */
export async function pictureDataUrl(source: PictureSource): Promise<string> {
  const { rgb, width, height } = await readPicture(source);
  const jpeg = await sharp(rgb, { raw: { width, height, channels: 3 } })
    .resize({ width: LONGEST, height: LONGEST, fit: "inside", withoutEnlargement: true })
    .jpeg({ quality: 85 })
    .toBuffer();
  return `data:image/jpeg;base64,${jpeg.toString("base64")}`;
}

/** @file The checkpoints that come with the package. */
import { fileURLToPath } from "node:url";

/**
 * Folder of nano: 64 x 64 pixels, 17 frames, trained by this package on moving shapes. What is used where no other
 * checkpoint is named.
 */
export const nanoFolder = fileURLToPath(new URL("../../models/nano", import.meta.url));

/** Folders of nano's siblings, by what they see beside the text. */
export const nanoSiblings = {
  image: fileURLToPath(new URL("../../models/nano-i2v", import.meta.url)),
  control: fileURLToPath(new URL("../../models/nano-control", import.meta.url)),
  inpaint: fileURLToPath(new URL("../../models/nano-inpaint", import.meta.url)),
} as const;

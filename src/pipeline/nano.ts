/** @file The checkpoints that come with the package. */
import { fileURLToPath } from "node:url";

/**
 * Folder of nano: 64 x 64 pixels, 17 frames, trained by this package on moving shapes. What is used where no other
 * checkpoint is named.
 */
export const nanoFolder = fileURLToPath(new URL("../../models/nano", import.meta.url));

/** Folder of nano's sibling for clips that begin with a picture. */
export const nanoImageFolder = fileURLToPath(new URL("../../models/nano-i2v", import.meta.url));

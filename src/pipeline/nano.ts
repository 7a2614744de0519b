/** @file The checkpoints that come with the package. */
import { dirname, join, relative, resolve } from "node:path";
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

const models = dirname(nanoFolder);

/** What comes along (nano, its siblings and its LoRA) is called so, wherever the package lies. */
const packaged = /^nano(-[a-z0-9]+)?$/;

/** The name of a folder that comes along, such as "nano-i2v"; null for any other folder. */
export function packagedName(folder: string): string | null {
  const name = relative(models, resolve(folder));
  return packaged.test(name) ? name : null;
}

/** The folder that comes along under a name, whether or not it is there; null for what can be no such name. */
export function packagedFolder(name: string): string | null {
  return packaged.test(name) ? join(models, name) : null;
}

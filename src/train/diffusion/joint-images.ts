/** @file Joint training on images and clips: which samples of a step are images. */
import { drawUniform, rngFor } from "./random.ts";

/**
 * Which of the `size` samples of a step are images (true) in joint training. Their number is `share · size`, rounded up
 * or down at random so that it is right on average; which samples they are changes from step to step.
 */
export function imagesInBatch(
  { seed, step, share }: { readonly seed: number; readonly step: number; readonly share: number },
  size: number,
): boolean[] {
  const rng = rngFor(seed, "images in batch", step);
  const images = Math.floor(share * size + drawUniform(rng));
  const order = Array.from({ length: size }, (_, i) => ({ i, key: drawUniform(rng) }));
  order.sort((a, b) => a.key - b.key);
  const chosen = new Set(order.slice(0, images).map(({ i }) => i));
  return Array.from({ length: size }, (_, i) => chosen.has(i));
}

/** @file Clips as a lossy model might make them: noisy, blurred, pale, or nothing but noise. */
import { randomSource } from "../../src/data/shapes/random.ts";
import type { ShapesClip } from "../../src/data/shapes/render.ts";

const { float } = randomSource(5);

/** Even noise in place of the clip. */
export function noise(rgb: Uint8Array): Uint8Array {
  return rgb.map(() => 256 * float());
}

/** With Gaussian noise of this standard deviation in 0..255. */
export function noisy(rgb: Uint8Array, sigma: number): Uint8Array {
  const normal = () => Math.sqrt(-2 * Math.log(1 - float())) * Math.cos(2 * Math.PI * float());
  return rgb.map((value) => Math.min(255, Math.max(0, Math.round(value + sigma * normal()))));
}

/** The mean of three by three pixels. */
export function blurred(rgb: Uint8Array, { width, height }: ShapesClip): Uint8Array {
  const clamp = (value: number, most: number) => Math.min(most, Math.max(0, value));
  return rgb.map((_, at) => {
    const [c, x] = [at % 3, Math.floor(at / 3) % width];
    const [y, frame] = [Math.floor(at / 3 / width) % height, Math.floor(at / 3 / width / height)];
    let sum = 0;
    for (let dy = -1; dy <= 1; dy++)
      for (let dx = -1; dx <= 1; dx++)
        sum += rgb[3 * ((frame * height + clamp(y + dy, height - 1)) * width + clamp(x + dx, width - 1)) + c];
    return Math.round(sum / 9);
  });
}

/** With this share of its saturation. */
export function faded(rgb: Uint8Array, share: number): Uint8Array {
  return rgb.map((value, at) => {
    const start = at - (at % 3);
    const grey = (rgb[start] + rgb[start + 1] + rgb[start + 2]) / 3;
    return Math.round(grey + (value - grey) * share);
  });
}

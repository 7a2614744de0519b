/** @file Sinusoidal features of a timestep. */

/** The value that CogVideoX 1.5 image-to-video models take for `ofs`. */
export const OFS = 2;

/**
 * `[cos | sin]` features of every value, `[values, width]` float32, with frequencies 10000^(-j / (width/2 - shift)).
 * Computed on the host in float32 steps, because devices differ in the sine of large arguments.
 */
export function timestepFeatures(values: ArrayLike<number>, width: number, freqShift = 0): Float32Array {
  const half = Math.floor(width / 2);
  const features = new Float32Array(values.length * width);
  for (let row = 0; row < values.length; row++)
    for (let j = 0; j < half; j++) {
      const exponent = Math.fround(Math.fround(-Math.log(10000) * j) / Math.fround(half - freqShift));
      const angle = Math.fround(Math.fround(values[row]) * Math.fround(Math.exp(exponent)));
      features[row * width + j] = Math.cos(angle);
      features[row * width + half + j] = Math.sin(angle);
    }
  return features;
}

/** @file Stateless randomness of training: a generator for every purpose and place, and nothing to save. */
import { nextUint32 } from "../../diffusion/mt19937.ts";
import { createRng, type TorchRng } from "../../diffusion/noise.ts";

/**
 * The generator of one purpose ("noise", "timestep", ...) at one place (a step, a sample, ...). The same arguments give
 * the same generator on every machine and in every run, so that a resumed run draws what the first would have drawn.
 */
export function rngFor(seed: number, purpose: string, ...place: readonly number[]): TorchRng {
  let hash = mix(0x9e3779b9, seed);
  for (let i = 0; i < purpose.length; i++) hash = mix(hash, purpose.charCodeAt(i));
  for (const index of place) hash = mix(hash, index);
  return createRng(hash >>> 0);
}

/** Uniform in 0 (inclusive) to 1 (exclusive), of 53 bits. */
export function drawUniform(rng: TorchRng): number {
  const high = nextUint32(rng.twister) >>> 5;
  const low = nextUint32(rng.twister) >>> 6;
  return (high * 2 ** 26 + low) * 2 ** -53;
}

/** `count` numbers of `drawUniform`. */
export function drawUniforms(rng: TorchRng, count: number): Float64Array {
  return Float64Array.from({ length: count }, () => drawUniform(rng));
}

/** Folds an integer of up to 53 bits into a hash of 32 bits: multiply, rotate and the finish of MurmurHash3. */
function mix(hash: number, value: number): number {
  const high = Math.floor(value / 2 ** 32);
  return foldWord(foldWord(hash, value | 0), high | 0);
}

function foldWord(hash: number, word: number): number {
  const scrambled = Math.imul(word, 0xcc9e2d51);
  let h = hash ^ Math.imul((scrambled << 15) | (scrambled >>> 17), 0x1b873593);
  h = Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

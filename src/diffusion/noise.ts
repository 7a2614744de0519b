/** @file Normal noise that equals `torch.randn` with a CPU generator, and the forward process that adds it. */
import { ConfigError, ShapeError } from "../errors.ts";
import { type Mt19937, nextUint32, seedMt19937 } from "./mt19937.ts";
import { alphaBarAt, type NoiseSchedule } from "./schedule.ts";
import { logFloat32, sinCosFloat32 } from "./vector-math.ts";

const f32 = Math.fround;
const TWO_PI = f32(2 * Math.PI);
const BLOCK = 16;

/** A generator that draws advance in place. Take a `TorchRngState` of it to keep or to send. */
export type TorchRng = {
  readonly twister: Mt19937;
  /** Second value of the last Box-Muller pair of the path for fewer than 16 numbers. */
  cachedNormal: number | null;
};

/** Everything a generator is, as plain JSON. */
export type TorchRngState = {
  readonly words: readonly number[];
  readonly position: number;
  readonly cachedNormal: number | null;
};

/**
 * The generator of `torch.Generator("cpu").manual_seed(seed)`; only the low 32 bits of the seed count.
 * @throws ConfigError when the seed is not an integer.
 */
export function createRng(seed: number | bigint): TorchRng {
  return { twister: seedMt19937(seed), cachedNormal: null };
}

/** A copy of the generator's state, untouched by later draws. */
export function saveRng(rng: TorchRng): TorchRngState {
  const { words, position } = rng.twister;
  return { words: Array.from(words), position, cachedNormal: rng.cachedNormal };
}

/**
 * A generator that continues where `saveRng` was called; the state itself stays as it is.
 * @throws ConfigError when the state does not hold 624 words and a position in 0 to 624.
 */
export function restoreRng(state: TorchRngState): TorchRng {
  const { words, position, cachedNormal } = state;
  if (words.length !== 624 || !Number.isInteger(position) || position < 0 || position > 624) {
    throw new ConfigError(
      `a saved random state has 624 words and a position in 0 to 624, got ${words.length} words and ${position}`,
    );
  }
  return { twister: { words: Uint32Array.from(words), position }, cachedNormal };
}

/**
 * `torch.randn(count, generator=rng)` in float32, bit for bit as on an x86 machine with AVX2 or AVX-512. Sixteen
 * numbers and more come from 24-bit uniforms in blocks of 16; fewer come from a double-precision path.
 */
export function drawNormals(rng: TorchRng, count: number): Float32Array {
  const values = new Float32Array(count);
  if (count < BLOCK) {
    for (let i = 0; i < count; i++) values[i] = nextDoubleNormal(rng);
    return values;
  }
  fillUniforms(rng, values);
  for (let i = 0; i + BLOCK <= count; i += BLOCK) boxMullerBlock(values, i);
  if (count % BLOCK !== 0) {
    // The reference does not finish the last, partial block: it draws the last 16 values anew.
    fillUniforms(rng, values.subarray(count - BLOCK));
    boxMullerBlock(values, count - BLOCK);
  }
  return values;
}

function fillUniforms(rng: TorchRng, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) values[i] = (nextUint32(rng.twister) & 0xffffff) * 2 ** -24;
}

function boxMullerBlock(values: Float32Array, start: number): void {
  for (let i = start; i < start + 8; i++) {
    const radius = f32(Math.sqrt(f32(-2 * logFloat32(f32(1 - values[i])))));
    const { sin, cos } = sinCosFloat32(f32(TWO_PI * values[i + 8]));
    // "+ 0" because the reference adds the mean, which turns -0 into 0.
    values[i] = radius * cos + 0;
    values[i + 8] = radius * sin + 0;
  }
}

function nextDoubleNormal(rng: TorchRng): number {
  if (rng.cachedNormal !== null) {
    const cached = rng.cachedNormal;
    rng.cachedNormal = null;
    return cached;
  }
  const angle = 2 * Math.PI * nextDoubleUniform(rng);
  const radius = Math.sqrt(-2 * Math.log1p(-nextDoubleUniform(rng)));
  rng.cachedNormal = radius * Math.sin(angle);
  return radius * Math.cos(angle);
}

function nextDoubleUniform(rng: TorchRng): number {
  const high = nextUint32(rng.twister) & 0x1fffff; // 53 bits: 21 of the first word, 32 of the second
  return (high * 2 ** 32 + nextUint32(rng.twister)) * 2 ** -53;
}

/**
 * The forward process q(x_t | x_0): `sqrt(alphaBar) x0 + sqrt(1 - alphaBar) noise`, in float32, with alphaBar rounded
 * to float32 first as the reference's `add_noise` does.
 * @throws ShapeError when the lengths differ. @throws ConfigError when the schedule has no such timestep.
 */
export function addNoise(
  schedule: NoiseSchedule,
  original: Float32Array,
  noise: Float32Array,
  timestep: number,
): Float32Array {
  const { signal, sigma } = float32Rates(schedule, timestep);
  return combine(original, noise, signal, sigma, "noise");
}

/**
 * The target of v-prediction (Salimans & Ho 2022): `sqrt(alphaBar) noise - sqrt(1 - alphaBar) x0`, in float32, as the
 * reference's `get_velocity`.
 * @throws ShapeError when the lengths differ. @throws ConfigError when the schedule has no such timestep.
 */
export function velocity(
  schedule: NoiseSchedule,
  original: Float32Array,
  noise: Float32Array,
  timestep: number,
): Float32Array {
  const { signal, sigma } = float32Rates(schedule, timestep);
  return combine(noise, original, signal, -sigma, "original");
}

function float32Rates(schedule: NoiseSchedule, timestep: number): { signal: number; sigma: number } {
  const alphaBar = f32(alphaBarAt(schedule, timestep));
  return { signal: f32(Math.sqrt(alphaBar)), sigma: f32(Math.sqrt(f32(1 - alphaBar))) };
}

function combine(
  a: Float32Array,
  b: Float32Array,
  forA: number,
  forB: number,
  nameOfB: string,
): Float32Array {
  if (a.length !== b.length) {
    throw new ShapeError(
      `${nameOfB} has ${b.length} elements, but must have ${a.length} like the other tensor`,
    );
  }
  return a.map((value, i) => f32(forA * value) + f32(forB * b[i]));
}

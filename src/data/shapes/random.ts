/** @file Randomness as a pure function of numbers: a hash picks the state, so that no generator is carried along. */

/** Draws that follow each other. */
export interface RandomSource {
  /** Uniform in [0, 1). */
  float(): number;
  /** Uniform in [from, to). */
  between(from: number, to: number): number;
  within(range: readonly [from: number, to: number]): number;
  /** Uniform in 0 .. count - 1. */
  int(count: number): number;
  pick<T>(list: readonly T[]): T;
  chance(probability: number): boolean;
}

/**
 * A source that depends on nothing but `parts` (whole numbers; those beyond 32 bits count with their high part too).
 * Parts go through the finalizer of MurmurHash3, draws through SplitMix32, which costs nothing to set up.
 */
export function randomSource(...parts: readonly number[]): RandomSource {
  let state = 0x9e3779b9;
  for (const part of parts)
    for (const half of [part, Math.floor(part / 2 ** 32)]) state = mix(Math.imul(state, 31) + (half | 0));
  const float = () => {
    state = (state + 0x9e3779b9) | 0;
    return (mix(state) >>> 0) / 2 ** 32;
  };
  const between = (from: number, to: number) => from + (to - from) * float();
  const int = (count: number) => Math.floor(float() * count);
  return {
    float,
    int,
    between,
    within: ([from, to]) => between(from, to),
    pick: (list) => list[int(list.length)],
    chance: (probability) => float() < probability,
  };
}

function mix(value: number): number {
  let bits = value | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}

/** @file The Mersenne Twister MT19937 as PyTorch's CPU generator seeds and reads it. */
import { ConfigError } from "../errors.ts";

const WORDS = 624;
const MIDDLE = 397;

/** A running twister: advanced in place by `nextUint32`. */
export type Mt19937 = {
  /** 624 words of 32 bits. */
  readonly words: Uint32Array;
  /** Index of the next word to hand out, 0 to 624; 624 means that the words must be renewed first. */
  position: number;
};

/**
 * Seeds the twister with the low 32 bits of `seed`, as `torch.Generator.manual_seed` does.
 * @throws ConfigError when a number is given that is not a safe integer (use a bigint above 2^53).
 */
export function seedMt19937(seed: number | bigint): Mt19937 {
  const words = new Uint32Array(WORDS);
  words[0] = lowWord(seed);
  for (let i = 1; i < WORDS; i++) {
    words[i] = Math.imul(1812433253, words[i - 1] ^ (words[i - 1] >>> 30)) + i;
  }
  return { words, position: WORDS };
}

function lowWord(seed: number | bigint): number {
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
    throw new ConfigError(`seed must be an integer (a bigint above 2^53), got ${seed}`);
  }
  return Number(BigInt.asUintN(32, BigInt(seed)));
}

/** The next 32 random bits as a number in 0 to 2^32 - 1. */
export function nextUint32(twister: Mt19937): number {
  if (twister.position === WORDS) renew(twister);
  let y = twister.words[twister.position++];
  y ^= y >>> 11;
  y ^= (y << 7) & 0x9d2c5680;
  y ^= (y << 15) & 0xefc60000;
  return (y ^ (y >>> 18)) >>> 0;
}

function renew(twister: Mt19937): void {
  const { words } = twister;
  for (let i = 0; i < WORDS; i++) {
    const y = (words[i] & 0x80000000) | (words[(i + 1) % WORDS] & 0x7fffffff);
    words[i] = words[(i + MIDDLE) % WORDS] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
  }
  twister.position = 0;
}

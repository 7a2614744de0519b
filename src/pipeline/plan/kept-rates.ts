/** @file The rates of this machine: measured once a day, and kept in the user's cache. */
import { createHash } from "node:crypto";
import { cpus } from "node:os";
import { z } from "zod";
import { Engine, type EngineOptions, engineSettings } from "../../runtime/engine.ts";
import { measureRates, type Rates } from "../../runtime/rates.ts";
import { keep, readKept } from "../user-cache.ts";
import { version } from "../version.ts";

const rate = z.number().positive();
const stored = z.object({
  /** Milliseconds since 1970. */
  measured: z.number(),
  rates: z.object({
    products: rate,
    byteProducts: rate,
    convolutions: rate,
    attention: rate,
    moved: rate,
  }),
});

/** Milliseconds that rates are taken for the machine's: virtual ones have neighbours, and are faster on some days. */
const VALID = 24 * 60 * 60 * 1000;

/**
 * How fast this machine computes: from the cache, or measured now, which takes a second or two. Processor, threads and
 * version tell measurements apart; a file may be deleted to have it made anew before its day is over.
 */
export async function keptRates(options: EngineOptions = {}): Promise<Rates> {
  const facts = [version(), engineSettings(options), cpus().map(({ model }) => model)];
  const name = `rates-${createHash("sha256").update(JSON.stringify(facts)).digest("hex").slice(0, 32)}.json`;
  const known = await readKept(name, stored);
  const now = Date.now();
  if (known && now - known.measured < VALID) return known.rates;
  const rates = await measured(options);
  // A cache that cannot be written keeps no run from starting; the rates are measured again then.
  await keep(name, { measured: now, rates }).catch(() => {});
  return rates;
}

async function measured(options: EngineOptions): Promise<Rates> {
  const engine = new Engine(options);
  try {
    return await measureRates(engine);
  } finally {
    await engine.close();
  }
}

/** @file The rates of this machine: measured once, and kept in the user's cache. */
import { createHash } from "node:crypto";
import { cpus } from "node:os";
import { z } from "zod";
import { Engine, type EngineOptions, engineSettings } from "../../runtime/engine.ts";
import { measureRates, type Rates } from "../../runtime/rates.ts";
import { keep, readKept } from "../user-cache.ts";
import { version } from "../version.ts";

const rate = z.number().positive();
const stored = z.object({
  products: rate,
  byteProducts: rate,
  convolutions: rate,
  attention: rate,
  moved: rate,
});

/**
 * How fast this machine computes: from the cache, or measured now, which takes a second or two. Processor, threads and
 * version tell measurements apart; a file may be deleted to have it made anew.
 */
export async function keptRates(options: EngineOptions = {}): Promise<Rates> {
  const facts = [version(), engineSettings(options), cpus().map(({ model }) => model)];
  const name = `rates-${createHash("sha256").update(JSON.stringify(facts)).digest("hex").slice(0, 32)}.json`;
  const known = await readKept(name, stored);
  if (known) return known;
  const rates = await measured(options);
  // A cache that cannot be written keeps no run from starting; the rates are measured again then.
  await keep(name, rates).catch(() => {});
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

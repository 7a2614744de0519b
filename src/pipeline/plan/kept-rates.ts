/** @file The rates of this machine: measured once, and kept in the user's cache. */
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { Engine, type EngineOptions } from "../../runtime/engine.ts";
import { measureRates, type Rates } from "../../runtime/rates.ts";
import { parseJson } from "../../weights/json.ts";
import { cacheFolder } from "../preview-fit.ts";
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
  const engine = new Engine(options);
  try {
    const file = join(cacheFolder(), `rates-${keyOf(engine.settings)}.json`);
    const known = await readRates(file);
    if (known) return known;
    const rates = await measureRates(engine);
    await mkdir(cacheFolder(), { recursive: true });
    const draft = `${file}.${process.pid}`;
    await writeFile(draft, JSON.stringify(rates));
    await rename(draft, file);
    return rates;
  } finally {
    await engine.close();
  }
}

function keyOf(settings: Engine["settings"]): string {
  const facts = [version(), settings, cpus().map(({ model }) => model)];
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex").slice(0, 32);
}

async function readRates(file: string): Promise<Rates | null> {
  const bytes = await readFile(file).catch(() => null);
  const parsed = bytes ? parseJson(bytes) : { problem: "" };
  const read = stored.safeParse("problem" in parsed ? null : parsed.value);
  return read.success ? read.data : null;
}

/** @file Rates of the machine: measured once a day where they can be kept, and measured all the same where they cannot. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { keptRates } from "./kept-rates.ts";

test("rates are kept, and what is kept is what counts for a day", async () => {
  const cache = temporaryFolder();
  vi.stubEnv("COGVIDEOX_CACHE", cache);
  const rates = await keptRates({ threads: 1 });
  const [name, ...others] = readdirSync(cache);
  expect(others).toEqual([]);
  const file = join(cache, name);
  const kept = JSON.parse(readFileSync(file, "utf8"));
  expect(kept.rates).toEqual(rates);
  const edited = { ...rates, products: 12_345 };
  writeFileSync(file, JSON.stringify({ ...kept, rates: edited }));
  expect(await keptRates({ threads: 1 })).toEqual(edited);
  writeFileSync(file, JSON.stringify({ measured: kept.measured - 25 * 60 * 60 * 1000, rates: edited }));
  expect((await keptRates({ threads: 1 })).products).not.toBe(12_345);
  expect(JSON.parse(readFileSync(file, "utf8")).measured).toBeGreaterThanOrEqual(kept.measured);
  vi.unstubAllEnvs();
});

test("a cache that cannot be written keeps nothing from being planned", async () => {
  const file = join(temporaryFolder(), "file");
  writeFileSync(file, "");
  vi.stubEnv("COGVIDEOX_CACHE", file);
  const rates = await keptRates({ threads: 1 });
  expect(Math.min(...Object.values(rates))).toBeGreaterThan(0);
  vi.unstubAllEnvs();
});

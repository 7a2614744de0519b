/** @file Rates of the machine: measured once where they can be kept, and measured all the same where they cannot. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { keptRates } from "./kept-rates.ts";

test("rates are kept, and what is kept is what counts", async () => {
  const cache = temporaryFolder();
  vi.stubEnv("COGVIDEOX_CACHE", cache);
  const rates = await keptRates({ threads: 1 });
  const [name, ...others] = readdirSync(cache);
  expect(others).toEqual([]);
  expect(JSON.parse(readFileSync(join(cache, name), "utf8"))).toEqual(rates);
  const edited = { ...rates, products: 12_345 };
  writeFileSync(join(cache, name), JSON.stringify(edited));
  expect(await keptRates({ threads: 1 })).toEqual(edited);
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

/** @file Tests that the peak is a rate that this machine can have, and that measuring it leaves nothing behind. */
import { expect, test } from "vitest";
import { Engine } from "./engine.ts";
import { measurePeak } from "./rates.ts";

test("lies between a slow and the fastest processor there is", async () => {
  const engine = new Engine({ threads: 1 });
  const loaded: number[] = [];
  const unload = engine.unload.bind(engine);
  engine.unload = (session) => {
    loaded.push(session.id);
    return unload(session);
  };
  const peak = await measurePeak([engine]);
  expect(peak).toBeGreaterThan(1e8);
  expect(peak).toBeLessThan(1e12);
  expect(loaded).toHaveLength(1);
  await engine.close();
});

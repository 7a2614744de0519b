/** @file The T5 encoder against an output of the reference. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Segments } from "../../src/models/t5/encoder.ts";
import { relativeBuckets } from "../../src/models/t5/relative-positions.ts";
import { TextEncoder } from "../../src/pipeline/text-encoder.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { declaredShapes } from "../../src/runtime/mapped-weights.ts";
import { hashCheckpoint } from "../helpers/hash-checkpoint.ts";

const { T5_enc: golden } = JSON.parse(readFileSync("test/fixtures/golden/t5.json", "utf8"));

test("encodes what the reference encodes", async () => {
  const json = {
    vocab_size: 64,
    d_model: 12,
    d_kv: 4,
    d_ff: 20,
    num_layers: 2,
    num_heads: 3,
    feed_forward_proj: "gated-gelu",
  };
  const config = parseT5Config(json, "config.json");
  const { embed, layers, norm } = t5Segments(config, 1, 10);
  const shapes = declaredShapes([embed, ...layers, norm]);
  // The reference's list of keys names the tied table twice; the later name's values win.
  const weights = await hashCheckpoint(shapes.set("encoder.embed_tokens.weight", [64, 12]));
  const engine = new Engine();
  const encoder = new TextEncoder(engine, config, weights, { batch: 1, length: 10 });
  const ids = Int32Array.of(5, 9, 33, 2, 61, 1, 0, 0, 0, 0);
  const states = await encoder.encode({ dtype: "i32", shape: [1, 10], data: ids });
  expect(states.shape).toEqual(golden.shape);
  expect(states.data).toBeCloseToArray(golden.data, { atol: 1e-5 });
  await engine.close();
});

test("sorts distances into the reference's buckets", () => {
  const buckets = relativeBuckets(257, { buckets: 32, maxDistance: 128 });
  const at = (distance: number) => buckets[128 * 257 + 128 + distance];
  const distances = [-7, -8, -11, -12, -15, -16, -30, -40, -50, -70, -100, 1, 8, 16, 100];
  expect(distances.map(at)).toEqual([7, 8, 8, 9, 9, 10, 11, 12, 13, 14, 15, 17, 24, 26, 31]);
});

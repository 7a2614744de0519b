/** @file Tests of LoRAs of the released models: how many matrices they have, and that they begin as nothing. */
import { expect, test } from "vitest";
import { transformerConfigs } from "../../../test/helpers/released-models.ts";
import { input } from "../../graph/tensor.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { transformerParams } from "../new-checkpoint/declared-params.ts";
import { initialLora, loraShapes } from "./lora.ts";

const layers = ["to_q", "to_k", "to_v", "to_out.0"];

test.each([
  ["2b", 240],
  ["5b", 336],
] as const)("a LoRA of %s has %i matrices", (name, count) => {
  const declared = transformerParams(parseTransformerConfig(transformerConfigs[name], "config.json"));
  expect(loraShapes(declared, { rank: 128, alpha: 64, layers }).size).toBe(count);
});

test("B begins as zeros, so that nothing is corrected, and A within ± 1 / √in", () => {
  const shapes = loraShapes(new Map([["a.to_q.weight", [8, 16]]]), { rank: 4, alpha: 4, layers });
  const params = new Map([...shapes].map(([key, shape]) => [key, input(key, shape)]));
  const loss = input("loss", []);
  const [a, b] = [...initialLora({ name: "toy", loss, report: {}, params }, 1).values()];
  expect([a.shape, b.shape]).toEqual([
    [4, 16],
    [8, 4],
  ]);
  expect([...b.data]).toEqual(Array(32).fill(0));
  const sizes = [...a.data].map(Math.abs);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(0.25);
  expect(Math.max(...sizes)).toBeGreaterThan(0.2);
});

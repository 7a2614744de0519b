/** @file What a text encoder's config.json may say. */
import { expect, test } from "vitest";
import { t5XxlConfig } from "../../../test/helpers/released-models.ts";
import { ConfigError } from "../../errors.ts";
import { parseT5Config } from "./config.ts";

test("reads the released configuration, with the reference's defaults for what it leaves out", () => {
  expect(parseT5Config(t5XxlConfig, "config.json")).toEqual({
    vocabulary: 32128,
    width: 4096,
    heads: 64,
    headDim: 64,
    hidden: 10240,
    layers: 24,
    buckets: 32,
    maxDistance: 128,
    eps: 1e-6,
  });
});

test.each([
  ["another activation", { feed_forward_proj: "relu" }, 'feed_forward_proj is "relu"'],
  ["another model", { model_type: "bert" }, 'model_type is "bert"'],
  ["a broken size", { d_model: 0.5 }, "d_model is 0.5"],
  ["no layers", { num_layers: 0 }, "num_layers is 0"],
])("refuses %s, naming file, field and value", (_, change, message) => {
  const parse = () => parseT5Config({ ...t5XxlConfig, ...change }, "text_encoder/config.json");
  expect(parse).toThrow(ConfigError);
  expect(parse).toThrow(`text_encoder/config.json: ${message}`);
});

/** @file What a transformer's config.json may say. */
import { describe, expect, test } from "vitest";
import { transformerConfigs } from "../../../test/helpers/released-models.ts";
import { ConfigError } from "../../errors.ts";
import { parseTransformerConfig } from "./config.ts";

const parse = (json: unknown) => parseTransformerConfig(json, "transformer/config.json");

describe("a configuration", () => {
  test("of nothing is CogVideoX-2b", () => {
    expect(parse({})).toEqual(parse(transformerConfigs["2b"]));
    expect(parse({})).toMatchObject({
      heads: 30,
      width: 1920,
      layers: 30,
      patchT: null,
      ofsDim: null,
      rotary: false,
    });
  });

  test("is told apart by what the models differ in", () => {
    expect(parse(transformerConfigs["5b"])).toMatchObject({ width: 3072, layers: 42, rotary: true });
    expect(parse(transformerConfigs["1.5-5B-I2V"])).toMatchObject({ patchT: 2, ofsDim: 512, inChannels: 32 });
    expect(parse(transformerConfigs["5b-I2V"]).learnedPositions).toBe(true);
  });

  test("may hold fields that nobody knows, and nulls where the reference has them", () => {
    const json = {
      _class_name: "CogVideoXTransformer3DModel",
      _diffusers_version: "1",
      patch_size_t: null,
      ofs_embed_dim: null,
    };
    expect(parse(json)).toEqual(parse({}));
  });

  test("may say which guidance suits the model", () => {
    expect(parse({ _guidance_scale: 2.5 })).toEqual({ ...parse({}), guidance: 2.5 });
  });
});

describe("a configuration is refused, with file, field and value, when it", () => {
  test.each<[string, unknown, string]>([
    ["is a list", [], "transformer/config.json must hold a JSON object, got an array"],
    ["is null", null, "must hold a JSON object"],
    ["names another class", { _class_name: "UNet" }, 'names the class "UNet"'],
    ["has no heads", { num_attention_heads: 0 }, "num_attention_heads is 0"],
    ["has half a layer", { num_layers: 1.5 }, "num_layers is 1.5"],
    ["has words for numbers", { patch_size: "two" }, 'patch_size is "two"'],
    ["has another activation", { activation_fn: "relu" }, 'activation_fn is "relu"'],
    ["has a negative epsilon", { norm_eps: -1 }, "norm_eps is -1"],
    [
      "has no number for guidance",
      { _guidance_scale: "3" },
      '_guidance_scale is "3"; it must be a number such as 6',
    ],
    ["has guidance of nothing", { _guidance_scale: 0 }, "_guidance_scale is 0; it must be above 0"],
    ["has learned positions alone", { use_learned_positional_embeddings: true }, "set both"],
  ])("%s", (_, json, message) => {
    expect(() => parse(json)).toThrow(ConfigError);
    expect(() => parse(json)).toThrow(message);
  });
});

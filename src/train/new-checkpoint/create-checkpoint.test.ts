/** @file A created checkpoint: the pipeline opens it, every file has its place, and half a checkpoint never appears. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { ConfigError } from "../../errors.ts";
import { openCheckpoint } from "../../pipeline/checkpoint.ts";
import { loadPipeline } from "../../pipeline/pipeline.ts";
import { loadTokenizer } from "../../pipeline/prompt.ts";
import { mapWeights } from "../../runtime/mapped-weights.ts";
import { openWeights } from "../../weights/checkpoint.ts";
import { createCheckpoint } from "./create-checkpoint.ts";
import { textEncoderParams, transformerParams, vaeParams } from "./declared-params.ts";
import { readParams } from "./params-file.ts";
import type { CheckpointSpec } from "./spec.ts";

const spec: CheckpointSpec = {
  tokenizer: { words: ["A", "red", "circle", "moves"], punctuation: [",", "."] },
  textEncoder: { width: 16, heads: 2, headDim: 8, layers: 2, hidden: 32 },
  transformer: {
    heads: 2,
    headDim: 16,
    layers: 2,
    timeDim: 8,
    maxTextLength: 12,
    patch: 2,
    patchT: null,
    positions: "rotary",
  },
  vae: {
    channels: [8, 8, 16, 16],
    layers: 1,
    latentChannels: 4,
    groups: 4,
    temporalRatio: 4,
    scalingFactor: 0.7,
  },
  scheduler: { className: "CogVideoXDPMScheduler", snrShift: 3 },
  clip: { frames: 9, height: 32, width: 48 },
};

let parent: string;
let folder: string;
beforeAll(async () => {
  parent = mkdtempSync(join(tmpdir(), "cogvideox-new-"));
  folder = join(parent, "nano");
  await createCheckpoint(folder, spec, { seed: 1 });
});
afterAll(() => rmSync(parent, { recursive: true }));

describe("createCheckpoint", () => {
  test("writes the files of the official layout and nothing else", () => {
    const names = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
    expect(names.sort()).toEqual([
      "model_index.json",
      "scheduler/scheduler_config.json",
      "text_encoder/config.json",
      "text_encoder/model.safetensors",
      "tokenizer/added_tokens.json",
      "tokenizer/special_tokens_map.json",
      "tokenizer/spiece.model",
      "tokenizer/tokenizer_config.json",
      "transformer/config.json",
      "transformer/diffusion_pytorch_model.safetensors",
      "vae/config.json",
      "vae/diffusion_pytorch_model.safetensors",
    ]);
    expect(readdirSync(parent)).toEqual(["nano"]);
  });

  test("writes what the pipeline opens, with exactly the parameters that the models declare", async () => {
    const { pipelineClass, scheduler, transformer, vae, textEncoder } = await openCheckpoint(folder);
    expect(pipelineClass).toBe("CogVideoXPipeline");
    expect(scheduler).toMatchObject({ className: "CogVideoXDPMScheduler", snrShiftScale: 3 });
    expect(transformer.config).toMatchObject({
      sampleFrames: 9,
      sampleHeight: 4,
      sampleWidth: 6,
      textDim: 16,
    });
    mapWeights(transformer.weights, transformerParams(transformer.config));
    mapWeights(vae.weights, vaeParams(vae.config));
    mapWeights(textEncoder.weights, textEncoderParams(textEncoder.config));
  });

  test("of a VAE with fewer levels than the released ones is trained on, and refused where clips are generated", async () => {
    const small = join(temporaryFolder(), "small");
    await createCheckpoint(small, { ...spec, vae: { ...spec.vae, channels: [8, 16] } }, { seed: 1 });
    await expect(loadPipeline(small)).rejects.toThrow(
      "makes 2 x 2 pixels of a latent, and clips are generated with 8 x 8: it must have four levels, got 2",
    );
    await (await loadPipeline(folder)).close();
  });

  test("gives every token a row of the embedding", async () => {
    const tokenizer = await loadTokenizer(folder);
    const { textEncoder } = await openCheckpoint(folder);
    expect(textEncoder.config.vocabulary).toBe(tokenizer.numTokens);
    expect(tokenizer.encode("A red circle, moves.")).toEqual([3, 4, 5, 7, 6, 9, 1]);
  });

  // The reference refuses whole numbers in these fields of T5's configuration, and JSON here has no 1.0.
  test("leaves out fields that the reference wants as fractions", () => {
    const json = JSON.parse(readFileSync(join(folder, "text_encoder", "config.json"), "utf8"));
    expect(json).not.toHaveProperty("initializer_factor");
    expect(json).not.toHaveProperty("classifier_dropout");
  });

  test("makes the same weights from the same seed", async () => {
    const again = join(parent, "again");
    await createCheckpoint(again, spec, { seed: 1 });
    const valuesIn = async (made: string) => readParams(await openWeights(join(made, "transformer")));
    expect(await valuesIn(again)).toEqual(await valuesIn(folder));
    rmSync(again, { recursive: true });
  });

  test("refuses to overwrite, be it an empty folder", async () => {
    const taken = join(parent, "taken");
    mkdirSync(taken);
    await expect(createCheckpoint(taken, spec, { seed: 1 })).rejects.toThrow("it exists");
    rmSync(taken, { recursive: true });
  });

  test("leaves nothing behind when a size does not fit or the parent is missing", async () => {
    const bad = { ...spec, vae: { ...spec.vae, groups: 3 } };
    await expect(createCheckpoint(join(parent, "bad"), bad, { seed: 1 })).rejects.toThrow(ConfigError);
    const lost = join(parent, "no", "such");
    await expect(createCheckpoint(lost, spec, { seed: 1 })).rejects.toThrow(
      `${join(parent, "no")} does not exist`,
    );
    expect(existsSync(join(parent, "bad"))).toBe(false);
    expect(readdirSync(parent)).toEqual(["nano"]);
  });

  test("refuses clips that do not divide into patches", async () => {
    const odd = { ...spec, clip: { ...spec.clip, height: 40 } };
    await expect(createCheckpoint(join(parent, "odd"), odd, { seed: 1 })).rejects.toThrow("2x2 patches");
  });
});

/** @file Tests of recipes: defaults, and mistakes as sentences. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { parseRecipe } from "./parse-recipe.ts";

const parse = (text: string) => parseRecipe(text, "toy.yaml");

test("fills in everything that is left out", () => {
  const recipe = parse("vae: {stages: [{steps: 5}]}");
  expect(recipe.data).toMatchObject({ kind: "shapes", size: { width: 64, height: 64 }, frames: 17 });
  expect(recipe.model.new?.transformer.layers).toBe(6);
  expect(recipe.vae.stages[0]).toMatchObject({ steps: 5, train: "all", decay: "cosine", optimiser: "fresh" });
  expect(recipe.transformer.textDropout).toBe(0.1);
  expect(recipe.save.every).toBe(200);
});

test("takes a checkpoint in place of a new model", () => {
  const recipe = parse("model: {from: models/nano}\ntransformer: {stages: [{steps: 1}]}");
  expect(recipe.model).toEqual({ from: "models/nano" });
});

test("takes sizes as the side of a square, and as width by height", () => {
  const recipe = parse(`
    data: {kind: folder, path: clips, size: 720x480, frames: 49}
    vae: {stages: [{steps: 1, size: 48}]}
    transformer: {stages: [{steps: 1, size: 96x64, pack: {capacity: 99, sizes: [{frames: 9, size: 96x32}]}}]}
  `);
  const [stage] = recipe.transformer.stages;
  expect(recipe.data.size).toEqual({ width: 720, height: 480 });
  expect(recipe.vae.stages[0].size).toEqual({ width: 48, height: 48 });
  expect(stage.size).toEqual({ width: 96, height: 64 });
  expect(stage.pack?.sizes).toEqual([{ frames: 9, width: 96, height: 32 }]);
});

test.each([
  '"72"',
  "72.5",
  "0",
  "720x",
  "720x0",
  "720 x 480",
  "720x480x3",
  "[720, 480]",
  "{width: 720}",
  "null",
])("refuses the size %s", (size) => {
  const text = `data: {kind: shapes, size: ${size}}\nvae: {stages: [{steps: 1}]}`;
  expect(() => parse(text)).toThrow(ConfigError);
  expect(() => parse(text)).toThrow(
    /^toy.yaml: data.size is .+; it must be a whole number, or width by height such as 720x480$/,
  );
});

const stages = "vae: {stages: [{steps: 5}]}\n";

test.each([
  ["sede: 3", "toy.yaml: sede is no field of a recipe; did you mean seed?"],
  ["vae: {stages: [{steps: 5, bach: 3}]}", "vae.stages[0].bach is no field of a recipe; did you mean batch?"],
  [`${stages}data: {kind: shapes, framse: 9}`, "data.framse is no field of a recipe; did you mean frames?"],
  [
    `${stages}model: {new: {vae: {layer: 1}}}`,
    "model.new.vae.layer is no field of a recipe; did you mean layers?",
  ],
  [`${stages}transformer: {trainTextEncodr: true}`, "did you mean trainTextEncoder?"],
  [`${stages}colour: red`, "known are seed, output, dtype"],
  [
    `${stages}transformer: {control: {kind: edges, path: a}}`,
    "transformer.control.path goes with kind: folder, and kind is edges; leave it out",
  ],
  [`${stages}data: {kind: shapes, window: start}`, "data.window goes with kind: folder, and kind is shapes"],
  [`${stages}data: {kind: shapes, widow: start}`, "data.widow is no field of a recipe; known are kind, seed"],
  [
    `${stages}transformer: {inpaint: {masks: {}}}`,
    "transformer.inpaint.masks is {}; it must be a mapping that names a kind, such as everything: 1",
  ],
  [`${stages}model: {new: {}, from: a}`, "model must have either new"],
  ["seed: 1", "there is nothing to train"],
  ["vae: {stages: [{steps: 5, frames: 33}]}", "vae.stages[0].frames is 33, and the clips of data have 17"],
  [
    "vae: {stages: [{steps: 5, frameRates: [16, 4]}]}",
    "vae.stages[0].frameRates has 4, and the clips of data, 17 frames at 8 a second, have 9 frames then; the stage wants 17",
  ],
  [
    "data: {kind: folder, path: a, window: uniform}\nvae: {stages: [{steps: 5, frameRates: [8, 16]}]}",
    "vae.stages[0].frameRates is [8,16], and data.window: uniform shows videos at rates of their own; leave one of them out",
  ],
  [
    "transformer: {stages: [{steps: 5, frames: 9, pack: {capacity: 99, sizes: [{frames: 17, size: 64}]}}]}",
    "transformer.stages[0].pack.sizes has 17 frames of 64x64 pixels, the stage 9 frames of 64x64",
  ],
  [
    "data: {kind: shapes, size: 64x48}\ntransformer: {stages: [{steps: 5, size: 48x64}]}",
    "transformer.stages[0] wants 17 frames of 48x64 pixels, data has 17 frames of 64x48",
  ],
  [
    "transformer: {stages: [{steps: 5, pack: {capacity: 99, sizes: [{frames: 9, size: 64, frame: 9}]}}]}",
    "transformer.stages[0].pack.sizes[0].frame is no field of a recipe; did you mean frames?",
  ],
  [
    "transformer: {stages: [{steps: 5, pack: {capacity: 99, sizes: [{frames: 9}]}}]}",
    "transformer.stages[0].pack.sizes[0].size is missing; it must be a whole number, or width by height",
  ],
  [
    "transformer: {variant: plainNorm, stages: [{steps: 5, pack: {capacity: 99, sizes: [{frames: 9, size: 64}]}}]}",
    "transformer.stages[0] is packed, and the variant plainNorm is not made for rows",
  ],
  [
    "transformer: {variant: factorised, stages: [{steps: 5, recompute: true}]}",
    "transformer.stages[0] recomputes, and the variant factorised is not made in pieces",
  ],
  [
    "model: {from: a}\ntransformer: {lora: {rank: 2}, variant: plainNorm, stages: [{steps: 5}]}",
    "transformer.variant is plainNorm, and a LoRA is for models as they are",
  ],
  [
    "transformer: {stages: [{steps: 5, timestepWeights: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]}]}",
    "transformer.stages[0].timestepWeights are all 0",
  ],
  ["vae: {stages: [{steps: 5, l1: 0}]}", "vae.stages[0]: l1, l2, colour and perceptual are all 0"],
  [
    "vae: {stages: [{steps: 5, lpips: [a]}]}",
    "vae.stages[0].lpips names files, and perceptual, their weight, is 0",
  ],
  ["seed: [1", "toy.yaml is not YAML: "],
  ["- 1", "toy.yaml must hold fields"],
  ["seed: 1\nseed: 2", "toy.yaml is not YAML: Map keys must be unique"],
])("says what is wrong with %j", (text, message) => {
  expect(() => parse(text)).toThrow(ConfigError);
  expect(() => parse(text)).toThrow(message);
});

test("says where text stops being YAML", () => {
  expect(() => parse("some\nprose: here")).toThrow(/^toy\.yaml is not YAML: .* at line 1, column 1$/);
});

test.each([
  ["vae: {stages: [{batch: 5}]}", "vae.stages[0].steps is missing; it must be a whole number, 1 or more"],
  [`${stages}seed: -1`, "seed is -1; it must be a whole number, 0 or more"],
  [`${stages}seed: 1.5`, "seed is 1.5; it must be a whole number, 0 or more"],
  [`${stages}dtype: fp8`, 'dtype is "fp8"; it must be one of f32, bf16, f16'],
  [`${stages}output: ""`, 'output is ""; it must be a text that is not empty'],
  [`${stages}save: 5`, "save is 5; it must be a mapping with fields such as every, keep"],
  [`${stages}sample: {every: no}`, 'sample.every is "no"; it must be a whole number, 1 or more, or null'],
  [`${stages}data: 3`, "data is 3; it must be a mapping whose kind is one of shapes, folder"],
  [`${stages}data: {kind: film}`, 'data.kind is "film"; it must be one of shapes, folder'],
  [`${stages}data: {kind: folder}`, "data.path is missing; it must be a text that is not empty"],
  [
    `${stages}data: {kind: shapes, motions: {flies: 1}}`,
    "data.motions.flies is no field of a recipe; known are left",
  ],
  [
    `${stages}model: {new: {tokenizer: words}}`,
    'model.new.tokenizer is "words"; it must be shapes or a mapping with fields such as words, punctuation',
  ],
  [
    `${stages}model: {new: {tokenizer: {words: [1], punctuation: []}}}`,
    "model.new.tokenizer.words[0] is 1; it must be a text",
  ],
  [
    `${stages}model: {new: {vae: {temporalRatio: 3}}}`,
    "model.new.vae.temporalRatio is 3; it must be one of 1, 2, 4, 8",
  ],
  [
    "vae: {stages: [{steps: 5, train: encoder}]}",
    'vae.stages[0].train is "encoder"; it must be one of all, decoder',
  ],
  ["vae: {stages: [{steps: 5, rate: 0}]}", "vae.stages[0].rate is 0; it must be a number above 0"],
  ["vae: {stages: [{steps: 5, l1: .nan}]}", "vae.stages[0].l1 is NaN; it must be a number, 0 or more"],
  ["vae: {stages: [{steps: 5, final: 1.5}]}", "vae.stages[0].final is 1.5; it must be a number from 0 to 1"],
  [
    "vae: {stages: {steps: 5}}",
    'vae.stages is {"steps":5}; it must be a list, each a mapping with fields such as steps, frames, size',
  ],
  [
    "transformer: {stages: [{steps: 5, timestepWeights: [1, 2]}]}",
    "transformer.stages[0].timestepWeights is [1,2]; it must be a list of 10, each a number, 0 or more",
  ],
  [
    "transformer: {stages: [{steps: 5, recompute: maybe}]}",
    'transformer.stages[0].recompute is "maybe"; it must be true or false',
  ],
])("says of one field of %j what it is and what it must be", (text, message) => {
  expect(() => parse(text)).toThrow(ConfigError);
  expect(() => parse(text)).toThrow(`toy.yaml: ${message}`);
});

test("reads every recipe of the repository", () => {
  const files = (readdirSync("recipes", { recursive: true }) as string[]).filter((file) =>
    file.endsWith(".yaml"),
  );
  expect(files.length).toBeGreaterThan(5);
  for (const file of files) {
    const { vae, transformer } = parseRecipe(readFileSync(join("recipes", file), "utf8"), file);
    expect(vae.stages.length + transformer.stages.length, file).toBeGreaterThan(0);
  }
  const { transformer } = parseRecipe(readFileSync("recipes/progressive.yaml", "utf8"), "progressive.yaml");
  expect(transformer.stages.map(({ imageShare, pack }) => [imageShare, pack?.sizes.length])).toEqual([
    [0.3, undefined],
    [0.2, undefined],
    [0.1, 3],
  ]);
});

/** @file Tests of what the loss graphs of a stage are called. */
import { expect, test } from "vitest";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { toyTransformer } from "../../../test/helpers/toy-transformer.ts";
import { noiseSchedule, parseSchedulerConfig } from "../../diffusion/schedule.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { type StageGraphSetting, stageGraphs } from "./transformer-graphs.ts";

const schedule = noiseSchedule(parseSchedulerConfig({ _class_name: "CogVideoXDDIMScheduler" }, "test"));

test.each([
  ["text-to-video", 4, ""],
  ["image-to-video", 8, "image: {}"],
  ["control", 8, "control: {kind: edges}"],
  ["inpainting", 9, "inpaint: {}"],
])("graphs are called %s for a model of %i channels with %j", async (task, inChannels, field) => {
  const { transformer } = parseRecipe(toyRecipe({ vaeSteps: 0, transformer: field }), "toy.yaml");
  const json = { ...toyTransformer, in_channels: inChannels };
  const setting: StageGraphSetting = {
    stage: transformer.stages[0],
    recipe: transformer,
    config: parseTransformerConfig(json, "config.json"),
    textConfig: parseT5Config({ feed_forward_proj: "gated-gelu" }, "config.json"),
    schedule,
    folder: "nowhere",
    largest: { frames: 9, width: 16, height: 12 },
    latentSize: () => ({ frames: 3, height: 6, width: 8 }),
    placement: { kind: "checkpoint" },
    seed: 1,
  };
  const { name } = await stageGraphs(setting).reference();
  expect(name).toBe(`${task}, 4 x [3, 4, 6, 8]`);
});

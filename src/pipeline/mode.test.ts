/** @file Tests of which checkpoint can do which mode. */
import { expect, test } from "vitest";
import { parseTransformerConfig } from "../models/transformer/config.ts";
import type { Checkpoint, PipelineClass } from "./checkpoint.ts";
import { kindsOf, requireKind } from "./mode.ts";

const checkpoint = (pipelineClass: PipelineClass, inChannels: number) =>
  ({
    folder: "model",
    pipelineClass,
    transformer: { config: parseTransformerConfig({ in_channels: inChannels }, "config.json") },
  }) as Checkpoint;

test.each([
  ["CogVideoXPipeline", 16, ["text"]],
  ["CogVideoXVideoToVideoPipeline", 16, ["text"]],
  ["CogVideoXImageToVideoPipeline", 32, ["image"]],
  ["CogVideoXFunControlPipeline", 32, ["control"]],
  ["CogVideoX_Fun_Pipeline_Control", 32, ["control"]],
  ["CogVideoXPipeline", 32, ["image", "control"]],
  ["CogVideoXPipeline", 33, ["inpaint"]],
] as const)("a %s of %i channels is for %j", (pipelineClass, channels, kinds) => {
  expect(kindsOf(checkpoint(pipelineClass, channels))).toEqual(kinds);
});

test("a mode that the checkpoint cannot do is refused with what it works from", () => {
  const image = checkpoint("CogVideoXImageToVideoPipeline", 32);
  expect(() => requireKind(image, "image-to-video", "image")).not.toThrow();
  expect(() => requireKind(image, "text-to-video", "text")).toThrow(
    "text-to-video does not work with model: this CogVideoXImageToVideoPipeline, whose transformer takes 32 channels, " +
      "works from an image (--image)",
  );
  expect(() => kindsOf(checkpoint("CogVideoXPipeline", 24))).toThrow(/takes 24 channels and makes 16/);
});

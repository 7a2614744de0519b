/** @file Tests of stages of the VAE that draw a frame rate for every clip. */
import { expect, test } from "vitest";
import { sizeOf } from "../../graph/shape.ts";
import { input } from "../../graph/tensor.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import type { LossGraph } from "../learner.ts";
import type { ClipSource } from "./clips.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { type VaeStageSetting, vaeBatches } from "./vae-stage.ts";

const size = { width: 8, height: 8 };
const frame = 3 * 8 * 8;

/** Clips that are as bright as they are far on, from -1 at their first frame to 1 at their last one. */
function brightening(asked: number[]): ClipSource {
  const content = () => ({ digest: "" }) as ReturnType<ClipSource["content"]>;
  const pixels = (_: number, __: unknown, fps = 8) => {
    asked.push(fps);
    const frames = fps === 16 ? 33 : 17;
    return Float32Array.from(
      { length: frames * frame },
      (_, i) => (2 * Math.floor(i / frame)) / (frames - 1) - 1,
    );
  };
  return { count: 4, frames: 17, fps: 8, pixels, firstFrame: pixels, caption: () => "", content };
}

/** Rates that are asked for, and the frames of the clips that come, as seconds since each clip's first. */
async function drawn(stage: string, steps: number) {
  const recipe = parseRecipe(
    `data: {kind: shapes, frames: 17}\nvae: {stages: [{steps: 9, ${stage}}]}`,
    "toy.yaml",
  );
  const asked: number[] = [];
  const loss = input("loss", []);
  const learning: LossGraph = { name: "none", loss, report: {}, params: new Map() };
  const setting = {
    ...{
      stage: recipe.vae.stages[0],
      clips: brightening(asked),
      size,
      seed: 3,
      stepsBefore: 0,
      clipsBefore: 0,
    },
    config: parseVaeConfig({}, "config.json"),
  } as unknown as VaeStageSetting; // without engines and a folder, which drawing does not need
  const graphs = [9, 1].map((frames) => ({ frames, learning, showing: learning }));
  const batches = vaeBatches(setting, graphs);
  const paces: number[] = [];
  for (let step = 1; step <= steps; step++)
    for (const { feeds } of await batches(step)) {
      const { shape, data } = feeds.clip as { shape: readonly number[]; data: Float32Array };
      expect(data).toHaveLength(sizeOf(shape));
      if (shape[0] > 1) paces.push(data[frame] - data[0]);
    }
  return { asked, paces };
}

test("each clip has a rate of its own, at which it moves, and the same one when it is drawn again", async () => {
  const { asked, paces } = await drawn("frames: 9, accumulate: 4, frameRates: [8, 16]", 25);
  const fast = asked.filter((fps) => fps === 16).length;
  expect(asked).toHaveLength(100);
  expect(fast).toBeGreaterThan(35);
  expect(fast).toBeLessThan(65);
  // Of two units of brightness in two seconds, a frame is an eighth or a sixteenth.
  expect(paces).toBeCloseToArray(
    asked.map((fps) => (fps === 16 ? 1 / 16 : 1 / 8)),
    { atol: 1e-6 },
  );
  expect((await drawn("frames: 9, accumulate: 4, frameRates: [8, 16]", 25)).asked).toEqual(asked);
});

test("images and stages without rates are taken at the rate of the data", async () => {
  expect(new Set((await drawn("frames: 9", 3)).asked)).toEqual(new Set([8]));
  expect(new Set((await drawn("frames: 9, imageShare: 1, frameRates: [16]", 3)).asked)).toEqual(new Set([8]));
});

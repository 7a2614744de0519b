/** @file A clip made like another one is the other one, and says that a model has made it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createVideoWriter } from "../../src/media/write.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const model = recorded("t2v-sincos");

test("settings come from the file, what is given wins, and inspect shows the mark", async () => {
  const cwd = temporaryFolder();
  const settings = ["--steps", "2", "--seed", "5", "--scheduler", "dpm", "--guidance-mode", "cosine"];
  const levels = ["--discretisation", "sat"];
  const methods = ["--guidance-interval", "0,0.6", "--apg", "--apg-eta", "0.5", "--guidance-rescale", "0.3"];
  const length = ["--frames", "17", "--window", "9", "--overlap", "4", "--free-noise", "--fps", "12"];
  const cache = ["--cache", "first-block:threshold=0.5"];
  const tiles = ["--tiling", "--tile-size", "64x32", "--tile-overlap", "8x8"];
  const first = await cogvideox(
    [
      "generate",
      "A red circle.",
      "--model",
      model,
      ...settings,
      ...levels,
      ...methods,
      ...length,
      ...cache,
      ...tiles,
      "-o",
      "a.mp4",
    ],
    { cwd },
  );
  expect(first).toMatchObject({ status: 0 });
  expect(await cogvideox(["generate", "--like", "a.mp4", "-o", "b.mp4"], { cwd })).toMatchObject({
    status: 0,
  });
  expect(readFileSync(join(cwd, "b.mp4")).equals(readFileSync(join(cwd, "a.mp4")))).toBe(true);
  await cogvideox(["generate", "--like", "a.mp4", "--seed", "6", "-o", "c.webp"], { cwd });
  const [report] = jsonLines(await cogvideox(["inspect", "c.webp", "--json"], { cwd }));
  expect(report).toMatchObject({
    digitalSourceType: expect.stringMatching(/trainedAlgorithmicMedia$/),
    recipe: { seed: 6, guidanceMode: "cosine", discretisation: "sat", projectedGuidance: { eta: 0.5 } },
  });
  const text = await cogvideox(["inspect", "a.mp4"], { cwd });
  expect(text.stdout).toMatch(/made by a trained model/);
  const none = await cogvideox(["generate", "--like", join(model, "model_index.json")], { cwd });
  expect(none.status).not.toBe(0);
  expect(none.stderr).not.toMatch(/\n {4}at /);
});

test("a recipe that cannot be followed is refused in a sentence", async () => {
  const cases: [object, RegExp][] = [
    [
      { steps: "many" },
      /the recipe in .*like\.gif cannot be used: --steps must be a whole number, got "many"/,
    ],
    [{ guidanceMode: "square" }, /--guidance-mode must be one of constant, wave, cosine, got "square"/],
    [{ stg: { scale: 1, rescale: "yes" } }, /--stg-rescale/],
    [{ cache: { kind: "pab", every: null } }, /every of --cache pab must be a number, got "null"/],
    [{ longVideo: { window: { frames: [] } } }, /--window must be a whole number/],
    [{ chain: 2, frames: 16, mode: "image-to-video chain" }, /made from another file .*; give --image/],
    [
      { mode: "image-to-video" },
      /made from another file \(image-to-video\), which is not inside; give --image/,
    ],
    [{ mode: "inpainting", pictures: ["start image", "end image"] }, /give --start-image and --end-image/],
    [{ tiling: { tileWidth: 50, tileHeight: [] } }, /--tile-size must be width x height .* got "50x0"/],
    [{ latents: "given" }, /made from given latents, which are not inside; give --latents/],
    [{ software: "another" }, /holds no recipe of this program/],
  ];
  for (const [recipe, says] of cases) {
    const cwd = temporaryFolder();
    const writer = await createVideoWriter(join(cwd, "like.gif"), {
      ...{ width: 16, height: 16, fps: 8 },
      recipe: { software: "cogvideox", model, prompt: "A cat.", seed: 1, ...recipe },
    });
    await writer.write(new Uint8Array(16 * 16 * 3));
    await writer.finish();
    const ended = await cogvideox(["generate", "--like", "like.gif", "-o", "clip.gif"], { cwd });
    expect(ended.stderr).toMatch(says);
    expect(ended.stderr).not.toMatch(/\n {4}at /);
    expect(ended.status).toBe(2);
    expect(readdirSync(cwd)).toEqual(["like.gif"]);
  }
});

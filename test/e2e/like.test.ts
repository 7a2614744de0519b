/** @file A clip made like another one is the other one, and says that a model has made it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

test("settings come from the file, what is given wins, and inspect shows the mark", async () => {
  const cwd = temporaryFolder();
  const model = recorded("t2v-sincos");
  const settings = ["--steps", "2", "--seed", "5", "--scheduler", "dpm", "--guidance-mode", "cosine"];
  const methods = ["--guidance-interval", "0,0.6", "--apg", "--apg-eta", "0.5", "--guidance-rescale", "0.3"];
  const first = await cogvideox(
    ["generate", "A red circle.", "--model", model, ...settings, ...methods, "-o", "a.mp4"],
    { cwd },
  );
  expect(first.status).toBe(0);
  await cogvideox(["generate", "--like", "a.mp4", "-o", "b.mp4"], { cwd });
  expect(readFileSync(join(cwd, "b.mp4")).equals(readFileSync(join(cwd, "a.mp4")))).toBe(true);
  await cogvideox(["generate", "--like", "a.mp4", "--seed", "6", "-o", "c.webp"], { cwd });
  const [report] = jsonLines(await cogvideox(["inspect", "c.webp", "--json"], { cwd }));
  expect(report).toMatchObject({
    digitalSourceType: expect.stringMatching(/trainedAlgorithmicMedia$/),
    recipe: { seed: 6, prompt: "A red circle.", guidanceMode: "cosine", projectedGuidance: { eta: 0.5 } },
  });
  const text = await cogvideox(["inspect", "a.mp4"], { cwd });
  expect(text.stdout).toMatch(/made by a trained model/);
  const none = await cogvideox(["generate", "--like", join(model, "model_index.json")], { cwd });
  expect(none.status).not.toBe(0);
  expect(none.stderr).not.toMatch(/\n {4}at /);
});

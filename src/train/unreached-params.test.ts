/** @file Tests of the list of parameters that training leaves as they are. */
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { cogvideox } from "../../test/helpers/command-line.ts";
import { input } from "../graph/tensor.ts";
import { openWeights } from "../weights/checkpoint.ts";
import { readConfigs } from "./recipe/model-folder.ts";
import { reachOf, reachOfLosses } from "./unreached-params.ts";

const checkpoint = (name: string) =>
  fileURLToPath(new URL(`../../test/fixtures/checkpoints/${name}`, import.meta.url));

test.each(["t2v-sincos", "t2v-rope", "i2v-learned", "i2v-patch-t"])(
  "gradients reach every parameter of %s, a learned table and ofs among them",
  async (name) => {
    const folder = checkpoint(name);
    const reach = reachOfLosses(await readConfigs(folder));
    for (const part of ["transformer", "vae", "text_encoder"] as const) {
      const stored = (await openWeights(`${folder}/${part}`)).tensors;
      const aliases = [...stored.keys()].filter((key) => key === "encoder.embed_tokens.weight").length;
      expect(reach[part], part).toEqual({ parameters: stored.size - aliases, unreached: [] });
    }
  },
);

test("a parameter that nothing uses is listed, and one whose use the loss does not see", () => {
  const used = new Map(["seen", "read"].map((key) => [key, input(key, [2])]));
  const table = used.get("read")!.mul(used.get("seen")!); // as positions that were made and never added
  expect(table.shape).toEqual([2]);
  const loss = used.get("seen")!.mul(used.get("seen")!).sum([0]);
  const declared = new Map(["seen", "read", "forgotten"].map((key) => [key, [2]]));
  expect(reachOf(declared, loss, used)).toEqual({ parameters: 3, unreached: ["forgotten", "read"] });
});

test("the command line tells it, and refuses what is no checkpoint", async () => {
  const ended = await cogvideox(["inspect", checkpoint("t2v-rope"), "--gradients"]);
  expect(ended.stdout).toMatch(/^transformer: gradients reach all of \d+ parameters$/m);
  expect(ended.status).toBe(0);
  const none = await cogvideox(["inspect", "docs", "--gradients"]);
  expect(none.stderr).toMatch(/is the checkpoint complete/);
  expect(none.status).toBe(2);
});

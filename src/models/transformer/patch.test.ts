/** @file The order in which latents become tokens. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { counting, numbers } from "../../../test/helpers/host-tensor.ts";
import { runGraph } from "../../../test/helpers/run-graph.ts";
import { Engine } from "../../runtime/engine.ts";
import { parseTransformerConfig } from "./config.ts";
import { patchify, unpatchify } from "./patch.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

const spatial = parseTransformerConfig({ in_channels: 3 }, "config.json");
const temporal = parseTransformerConfig({ in_channels: 3, patch_size_t: 2 }, "config.json");
const [batch, frames, channels, height, width] = [2, 4, 3, 4, 6];
const latents = counting([batch, frames, channels, height, width]);
const at = (b: number, f: number, c: number, y: number, x: number) =>
  (((b * frames + f) * channels + c) * height + y) * width + x;

describe.each([
  { name: "CogVideoX 1.0", config: spatial, pt: 1 },
  { name: "CogVideoX 1.5", config: temporal, pt: 2 },
])("patches of $name", ({ config, pt }) => {
  test("run over t, y, x and hold their values as (c, dt, dy, dx)", async () => {
    const tokens = await runGraph(engine, (x) => patchify(x, config), [latents]);
    expect(tokens.shape).toEqual([batch, (frames / pt) * 2 * 3, channels * pt * 4]);
    const values = numbers(tokens);
    const expected: number[] = [];
    for (let b = 0; b < batch; b++)
      for (let t = 0; t < frames / pt; t++)
        for (let y = 0; y < 2; y++)
          for (let x = 0; x < 3; x++)
            for (let c = 0; c < channels; c++)
              for (let dt = 0; dt < pt; dt++)
                for (let dy = 0; dy < 2; dy++)
                  for (let dx = 0; dx < 2; dx++) expected.push(at(b, t * pt + dt, c, 2 * y + dy, 2 * x + dx));
    expect(values).toEqual(expected);
  });

  test("are put back where they came from", async () => {
    const build = (x: Parameters<typeof patchify>[0]) =>
      unpatchify(patchify(x, config), config, { frames, height, width });
    const back = await runGraph(engine, build, [latents]);
    expect(back.shape).toEqual(latents.shape);
    expect(back.data).toEqual(latents.data);
  });
});

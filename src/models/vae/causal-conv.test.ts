/** @file The causal convolution against a plain 3-D one, in every grouping, layout and chunking. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hashInput } from "../../../test/helpers/hash-fill.ts";
import { concat, conv } from "../../graph/functions.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import { Scope } from "../../nn/scope.ts";
import { convBlock } from "../../runtime/conv-block.ts";
import { Engine } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { type Caches, causalConv } from "./causal-conv.ts";
import { parseVaeConfig } from "./config.ts";
import { encoderLevel } from "./encoder.ts";
import { fromClip, groupSizes, toClip } from "./frames.ts";

const [C, O, H, W] = [20, 12, 5, 6];

let engine: Engine;
let blocks: number[];
beforeAll(async () => {
  engine = new Engine();
  blocks = [...new Set([1, await convBlock(engine)])];
});
afterAll(() => engine.close());

const f32 = (shape: readonly number[], key: number, scale = 1): HostTensor => ({
  dtype: "f32",
  shape,
  data: hashInput(shape, key, scale),
});
// Scaled so that results are about 1 and the tolerance of 5e-6 is a few float32 roundings of a sum of 540 products.
const weights = { "conv.weight": f32([O, C, 3, 3, 3], 1, 0.2), "conv.bias": f32([O], 2) };

async function run(
  outputs: Record<string, Tensor>,
  feeds: Record<string, HostTensor>,
): Promise<Float32Array[]> {
  const session = await engine.load("test", toOnnx(outputs));
  const results = await engine.run(session, feeds);
  await engine.unload(session);
  const names = Object.keys(outputs);
  return Promise.all(names.map(async (name) => (await engine.download(results[name])).data as Float32Array));
}

/** The same convolution as one 3-D convolution over the clip with its first frame twice before it. */
async function plain(clip: HostTensor): Promise<Float32Array> {
  const x = input("x", clip.shape);
  const padded = concat([x.slice(0, 0, 1), x.slice(0, 0, 1), x], 0).transpose([1, 0, 2, 3]);
  const p = new Scope().at("conv");
  const kernel = p.param("weight", [O, C, 3, 3, 3]);
  const window = { before: [0, 1, 1], after: [0, 1, 1] };
  const y = conv(padded.reshape([1, C, -1, H, W]), kernel, p.param("bias", [O]), window);
  const frames = y.reshape([O, clip.shape[0], H, W]).transpose([1, 0, 2, 3]);
  return (await run({ y: frames }, { x: clip, ...weights }))[0];
}

describe.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])("%i frames", (frames) => {
  const clip = f32([frames, C, H, W], 10 + frames);

  test("convolve as a plain 3-D convolution does, in every layout", async () => {
    const expected = await plain(clip);
    for (const block of blocks) {
      const caches: Caches = { before: null, after: new Map(), keep: false };
      const y = causalConv(new Scope(), toClip(input("x", clip.shape), block), O, caches);
      const [result] = await run({ y: fromClip(y) }, { x: clip, ...weights });
      expect(result).toBeCloseToArray(expected, { atol: 5e-6 });
    }
  });
});

test.each([[[3, 2, 2]], [[2, 2, 2]], [[1, 1, 1, 1]], [[9, 8]], [[1, 3, 1, 4]]])(
  "chunks of %j make what the whole clip makes",
  async (lengths) => {
    const total = lengths.reduce((sum, n) => sum + n, 0);
    const clip = f32([total, C, H, W], 30 + total);
    const expected = await plain(clip);
    for (const block of blocks) {
      const chunks: Tensor[] = [];
      let before: Caches["before"] = null;
      let start = 0;
      const x = input("x", clip.shape);
      for (const length of lengths) {
        const caches: Caches = { before, after: new Map(), keep: true };
        const chunk = toClip(x.slice(0, start, start + length), block);
        chunks.push(fromClip(causalConv(new Scope(), chunk, O, caches)));
        const [left] = caches.after.values();
        before = () => left;
        start += length;
      }
      const [result] = await run({ y: concat(chunks, 0) }, { x: clip, ...weights });
      expect(result).toBeCloseToArray(expected, { atol: 5e-6 });
    }
  },
);

test("an odd number of frames begins with a lone one", () => {
  const medium = 1 << 20;
  expect([1, 2, 3, 5, 8, 9, 10, 11].map((frames) => groupSizes(frames, medium))).toEqual([
    [1],
    [2],
    [1, 2],
    [1, 4],
    [4, 4],
    [1, 4, 4],
    [4, 4, 2],
    [1, 4, 4, 2],
  ]);
});

test("small frames go sixteen at a time, large ones two", () => {
  expect(groupSizes(49, 1 << 12)).toEqual([1, 16, 16, 16]);
  expect(groupSizes(31, 1 << 12)).toEqual([1, 16, 8, 4, 2]);
  expect(groupSizes(5, 1 << 24)).toEqual([1, 2, 2]);
});

test("a frame changes no latent before its own, with norms that do not look across frames", async () => {
  const json = { block_out_channels: [4, 4, 8], latent_channels: 2, layers_per_block: 1, norm_num_groups: 2 };
  const config = parseVaeConfig(json, "config.json");
  const encode = (clip: HostTensor, frozen: Record<string, HostTensor>) => {
    const p = new Scope();
    const pass = {
      activate: () => (x: Tensor) => x,
      caches: { before: null, after: new Map(), keep: false },
    };
    let x = causalConv(p.at("conv_in"), toClip(input("x", clip.shape), 1), 4, pass.caches);
    for (let i = 0; i < 3; i++) x = encoderLevel(p, x, i, config, pass);
    for (const [key, { shape }] of p.declared) frozen[key] ??= f32(shape, Object.keys(frozen).length, 0.5);
    return run({ y: fromClip(x) }, { x: clip, ...frozen });
  };
  const frozen: Record<string, HostTensor> = {};
  const clip = f32([17, 3, 8, 8], 50);
  const [before] = await encode(clip, frozen);
  const frameSize = before.length / 5;
  // Frames of a group are mixed and unmixed, which leaves roundings of a ten-millionth behind, but no signal.
  const roundings = 1e-6 * Math.max(...before.map(Math.abs));
  for (let f = 0; f < 17; f++) {
    const data = clip.data.slice() as Float32Array;
    for (let i = 0; i < 3 * 64; i++) data[f * 3 * 64 + i] += 1;
    const [after] = await encode({ ...clip, data }, frozen);
    const own = f === 0 ? 0 : Math.floor((f - 1) / 4) + 1;
    const moved = (latent: number) =>
      after
        .slice(latent * frameSize, (latent + 1) * frameSize)
        .some((x, i) => Math.abs(x - before[latent * frameSize + i]) > roundings);
    expect([0, 1, 2, 3, 4].filter(moved)[0]).toBe(own);
  }
});

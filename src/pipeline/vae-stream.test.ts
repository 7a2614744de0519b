/** @file Streams through the VAE: layouts agree, clips do not influence each other, memory does not grow. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { hashCheckpoint } from "../../test/helpers/hash-checkpoint.ts";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { CancelledError, ConfigError } from "../errors.ts";
import { parseVaeConfig } from "../models/vae/config.ts";
import { decoderSegments } from "../models/vae/decoder.ts";
import { convBlock } from "../runtime/conv-block.ts";
import { Engine } from "../runtime/engine.ts";
import { mapWeights } from "../runtime/mapped-weights.ts";
import { readMemory } from "../runtime/memory.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { SegmentPool } from "../runtime/segment-pool.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import { VaeChunks, vaeShapes } from "./vae-chunks.ts";
import { VideoDecoder } from "./video-decoder.ts";
import { VideoEncoder } from "./video-encoder.ts";

const json = {
  block_out_channels: [16, 16, 32, 32],
  latent_channels: 8,
  layers_per_block: 1,
  norm_num_groups: 4,
};
const config = parseVaeConfig(json, "config.json");

let engine: Engine;
let weights: WeightSet;
beforeAll(async () => {
  engine = new Engine();
  weights = await hashCheckpoint(vaeShapes(config));
});
afterAll(() => engine.close());

const latents = (frames: number, key: number, height = 4, width = 6): HostTensor => ({
  dtype: "f32",
  shape: [frames, 8, height, width],
  data: hashInput([frames, 8, height, width], key, 2),
});

async function collect(stream: AsyncIterable<HostTensor>): Promise<Float32Array> {
  const parts: number[] = [];
  for await (const { data } of stream) for (const x of data as Float32Array) parts.push(x);
  return Float32Array.from(parts);
}

test("channels in blocks make what channels in order make", async () => {
  const block = await convBlock(engine);
  const call = { frames: 3, height: 4, width: 6, continues: false, keeps: false };
  const results: Float32Array[] = [];
  for (const layout of [1, block]) {
    const pool = new SegmentPool(engine, mapWeights(weights, vaeShapes(config)));
    let groups: Record<string, HostTensor | { id: number; dtype: "f32"; shape: number[] }> = {};
    for (const segment of decoderSegments(config, { ...call, block: layout }))
      groups = (await pool.run(segment, { latents: latents(3, 1), ...groups })) as typeof groups;
    results.push((await engine.download(groups.sample as never)).data as Float32Array);
    await pool.close();
  }
  expect(results[1]).toBeCloseToArray(results[0], { atol: 2e-5 });
});

test("a second clip after a first one is the second clip alone", async () => {
  const decoder = new VideoDecoder(engine, config, weights);
  await collect(decoder.decodeStream(latents(5, 1)));
  const after = await collect(decoder.decodeStream(latents(7, 2)));
  const alone = await collect(new VideoDecoder(engine, config, weights).decodeStream(latents(7, 2)));
  expect(after).toEqual(alone);
});

test("two clips decoded in turns do not mix", async () => {
  const decoder = new VideoDecoder(engine, config, weights);
  const [a, b] = [decoder.decodeStream(latents(5, 1)), decoder.decodeStream(latents(5, 2))];
  const parts: HostTensor[][] = [[], []];
  for (let i = 0; i < 2; i++)
    for (const [k, stream] of [a, b].entries()) parts[k].push((await stream.next()).value);
  for (const stream of [a, b]) await stream.return(undefined);
  const expected = await collect(new VideoDecoder(engine, config, weights).decodeStream(latents(5, 2)));
  expect(Float32Array.from(parts[1].flatMap(({ data }) => Array.from(data as Float32Array)))).toEqual(
    expected,
  );
});

test("a cache of another size is named with both shapes", async () => {
  const chunks = new VaeChunks(engine, config, weights, "decode");
  const { cache } = await chunks.run(latents(3, 1), { cache: null, isLast: false });
  const other = chunks.run(latents(2, 1, 2, 6), { cache, isLast: true });
  await expect(other).rejects.toThrow(ConfigError);
  await expect(other).rejects.toThrow("decoder.conv_in is [2, 16, 4, 6], but this chunk needs [2, 16, 2, 6]");
  await chunks.drop(cache);
  await chunks.close();
});

test("a signal stops between segments", async () => {
  const controller = new AbortController();
  const decoder = new VideoDecoder(engine, config, weights);
  const stream = decoder.decodeStream(latents(5, 1), {
    signal: controller.signal,
    onSegment: () => controller.abort(),
  });
  await expect(stream.next()).rejects.toThrow(CancelledError);
});

test("encodes what it decodes in a stream of moments", async () => {
  const encoder = new VideoEncoder(engine, config, weights);
  const frames: HostTensor = { dtype: "f32", shape: [17, 3, 16, 24], data: hashInput([17, 3, 16, 24], 5, 2) };
  const shapes: (readonly number[])[] = [];
  for await (const { shape } of encoder.encodeStream(frames)) shapes.push(shape);
  expect(shapes).toEqual([
    [3, 16, 2, 3],
    [2, 16, 2, 3],
  ]);
});

test("a thousand frames decode in flat memory", async () => {
  const decoder = new VideoDecoder(engine, config, weights);
  const anonymous: number[] = [];
  let frames = 0;
  for await (const { shape } of decoder.decodeStream(latents(251, 3, 8, 8))) {
    frames += shape[0];
    anonymous.push(readMemory().anonymous / 2 ** 20);
  }
  expect(frames).toBe(1001);
  const early = Math.max(...anonymous.slice(0, 40));
  expect(Math.max(...anonymous.slice(-40))).toBeLessThan(early + 30);
});

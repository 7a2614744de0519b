/** @file Finds out in which channel blocks this processor's convolutions work. */
import { conv } from "../graph/functions.ts";
import { toOnnx } from "../graph/onnx.ts";
import { input } from "../graph/tensor.ts";
import type { Engine } from "./engine.ts";
import type { HostTensor } from "./protocol.ts";

const known = new WeakMap<Engine, Promise<number>>();

/**
 * Channels per block of the engine's blocked convolution: 16 or 8 depending on the processor's vectors, or 1 where
 * there is none and convolutions take the ordinary layout. The engine does not tell, so a tiny convolution is tried.
 */
export function convBlock(engine: Engine): Promise<number> {
  const found = known.get(engine) ?? probe(engine);
  known.set(engine, found);
  return found;
}

async function probe(engine: Engine): Promise<number> {
  if (engine.settings.device !== "cpu") return 1;
  for (const block of [16, 8]) if (await worksWith(engine, block)) return block;
  return 1;
}

const CHANNELS = 16;
const PIXELS = 2;

/** A 1x1 convolution that adds 100 to channel c and moves it to channel 15 - c, in blocks of `block` channels. */
async function worksWith(engine: Engine, block: number): Promise<boolean> {
  const x = input("x", [1, CHANNELS, 1, PIXELS]);
  const weight = input("weight", [CHANNELS, CHANNELS, 1, 1]);
  const bias = input("bias", [CHANNELS]);
  const y = conv(x, weight, bias, { block });
  const at = (c: number, p: number) => (Math.floor(c / block) * PIXELS + p) * block + (c % block);
  const values = new Float32Array(CHANNELS * PIXELS);
  const kernel = new Float32Array(CHANNELS * CHANNELS);
  const blocks = CHANNELS / block;
  for (let c = 0; c < CHANNELS; c++) {
    for (let p = 0; p < PIXELS; p++) values[at(c, p)] = 2 * c + p;
    const out = CHANNELS - 1 - c;
    const pair = Math.floor(out / block) * blocks + Math.floor(c / block);
    kernel[(pair * block + (c % block)) * block + (out % block)] = 1;
  }
  const f32 = (shape: number[], data: Float32Array): HostTensor => ({ dtype: "f32", shape, data });
  try {
    const session = await engine.load("convolution probe", toOnnx({ y }));
    const feeds = {
      x: f32([1, CHANNELS, 1, PIXELS], values),
      weight: f32([CHANNELS, CHANNELS, 1, 1], kernel),
      bias: f32([CHANNELS], new Float32Array(CHANNELS).fill(100)),
    };
    const result = (await engine.download((await engine.run(session, feeds)).y)).data;
    await engine.unload(session);
    return Array.from({ length: CHANNELS * PIXELS }, (_, i) => [
      i % CHANNELS,
      Math.floor(i / CHANNELS),
    ]).every(([c, p]) => result[at(CHANNELS - 1 - c, p)] === 100 + 2 * c + p);
  } catch {
    return false;
  }
}

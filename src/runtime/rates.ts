/** @file How fast this machine computes: a short measurement of every kind of work. */
import { attention, conv, linearMap } from "../graph/functions.ts";
import { type OnnxModel, toOnnx } from "../graph/onnx.ts";
import { type Shape, sizeOf } from "../graph/shape.ts";
import { constant, emit, input, type Tensor } from "../graph/tensor.ts";
import { convBlock } from "./conv-block.ts";
import type { Engine } from "./engine.ts";
import type { ResidentRef } from "./protocol.ts";
import { noWork, type Work } from "./segment-work.ts";

/** Work a second: operations, and bytes for what is moved. */
export type Rates = { readonly [K in keyof Work]: number };

type Trial = { readonly result: Tensor; readonly work: number };

/** Every trial is run once to warm up and then at least once more, while this many seconds last; the fastest counts. */
const PATIENCE = 0.15;

/** Measures every kind of work with a model of its own; about a second on two cores. */
export async function measureRates(engine: Engine): Promise<Rates> {
  const rates: Record<keyof Work, number> = { ...noWork };
  const trials = trialsOf(await convBlock(engine));
  for (const kind of Object.keys(trials) as (keyof Work)[])
    rates[kind] = trials[kind].work / (await fastest([engine], kind, trials[kind].result));
  await engine.trim();
  return rates;
}

/** Multiplications and additions a second of all engines together, in products of float32 matrices. */
export async function measurePeak(engines: readonly Engine[]): Promise<number> {
  const { result, work } = products();
  return (engines.length * work) / (await fastest(engines, "products", result));
}

/**
 * Seconds of a run of all engines at once. What comes out is small, so that only the work itself takes time; the first
 * run does not count.
 */
async function fastest(engines: readonly Engine[], kind: string, result: Tensor): Promise<number> {
  const model = toOnnx({ y: result.slice(0, 0, 1) }, { prepack: true });
  const opened = await Promise.all(engines.map((engine) => open(engine, kind, model)));
  let seconds = Number.POSITIVE_INFINITY;
  let spent = 0;
  for (let run = 0; run < 2 || spent < PATIENCE; run++) {
    const start = performance.now();
    await Promise.all(opened.map((each) => each.run()));
    const taken = (performance.now() - start) / 1000;
    seconds = Math.min(seconds, taken);
    spent += taken;
  }
  await Promise.all(opened.map((each) => each.close()));
  return seconds;
}

async function open(engine: Engine, kind: string, model: OnnxModel) {
  const session = await engine.load(`measurement of ${kind}`, model, { prepack: true, arena: true });
  const feeds: Record<string, ResidentRef> = {};
  for (const { name, shape } of model.inputs) {
    const data = new Float32Array(sizeOf(shape)).fill(0.01);
    feeds[name] = await engine.upload({ dtype: "f32", shape, data });
  }
  return {
    run: async () => engine.free((await engine.run(session, feeds)).y),
    close: async () => {
      await engine.free(...Object.values(feeds));
      await engine.unload(session);
    },
  };
}

const ROWS = 1024;
const WIDTH = 1024;
const PRODUCT = 2 * ROWS * WIDTH * WIDTH;
const REPEATS = 3;
const PIXELS = 64;
const CHANNELS = 128;
const HEADS = 16;

function trialsOf(block: number): { readonly [K in keyof Work]: Trial } {
  const rows = input("x", [ROWS, WIDTH]);
  const picture = input("x", [1, CHANNELS, PIXELS, PIXELS]);
  const kernel = input("w", [CHANNELS, CHANNELS, 3, 3]);
  const border = { before: [1, 1], after: [1, 1], block };
  const tokens = input("x", [1, ROWS, WIDTH]);
  return {
    products: products(),
    byteProducts: { result: repeated(rows, byBytes), work: REPEATS * PRODUCT },
    convolutions: {
      result: repeated(picture, (x) => conv(x, kernel, undefined, border)).reshape([CHANNELS, -1]),
      work: REPEATS * 2 * CHANNELS * PIXELS * PIXELS * CHANNELS * 9,
    },
    attention: {
      result: repeated(tokens, (x) => attention([x, x, x], HEADS)).reshape([ROWS, WIDTH]),
      work: REPEATS * 4 * ROWS * ROWS * WIDTH,
    },
    // Larger than the processor's caches, as what goes through memory in a run is.
    moved: movement([16 * ROWS, WIDTH / 2]),
  };
}

function products(): Trial {
  const matrix = input("w", [WIDTH, WIDTH]);
  const result = repeated(input("x", [ROWS, WIDTH]), (x) => linearMap(x, matrix));
  return { result, work: REPEATS * PRODUCT };
}

function repeated(x: Tensor, f: (x: Tensor) => Tensor): Tensor {
  let y = x;
  for (let i = 0; i < REPEATS; i++) y = f(y);
  return y;
}

function movement(shape: Shape): Trial {
  const x = input("x", shape);
  return { result: repeated(x, (y) => y.add(x)), work: REPEATS * 3 * 4 * sizeOf(shape) };
}

/** A linear map by products of bytes, with the rows' bytes made on the way. */
function byBytes(x: Tensor): Tensor {
  const range = "balanced" as const;
  const matrix = constant(new Int8Array(WIDTH * WIDTH).fill(1), [WIDTH, WIDTH], "i8");
  const scales = constant(new Float32Array(WIDTH).fill(0.001), [WIDTH]);
  const scale = emit("RowScale", [x], { range });
  return emit("ByteLinear", [emit("QuantizeRows", [x, scale], { range }), scale, matrix, scales], { range });
}

/** @file Finds out whether the engine's products of bytes are exact on this processor. */
import { toOnnx } from "../graph/onnx.ts";
import { constant, emit, input } from "../graph/tensor.ts";
import type { Engine } from "./engine.ts";

/** Elements of the sum: a few vectors of any processor. */
const WIDTH = 128;

/** The products are made for several outputs at once. */
const OUTPUTS = 16;

const known = new WeakMap<Engine, Promise<boolean>>();

/**
 * Whether sums of products of unsigned and signed bytes come out too small: processors before VNNI add two products in
 * 16 bits, and 2 · 255 · 127 does not fit there. Activations of 7 bits do. Asked once for every engine.
 */
export function hasNarrowBytes(engine: Engine): Promise<boolean> {
  const asked = known.get(engine) ?? probe(engine);
  known.set(engine, asked);
  return asked;
}

/** Bytes of 255 times weights of 127, where 128 stands for zero. */
async function probe(engine: Engine): Promise<boolean> {
  const rows = input("rows", [1, WIDTH], "u8");
  const scale = constant(Float32Array.of(1), [1, 1]);
  const weight = constant(new Int8Array(WIDTH * OUTPUTS).fill(127), [WIDTH, OUTPUTS], "i8");
  const weightScale = constant(new Float32Array(OUTPUTS).fill(1), [OUTPUTS]);
  const y = emit("ByteLinear", [rows, scale, weight, weightScale], { range: "balanced" });
  const session = await engine.load("product probe", toOnnx({ y }), { prepack: true });
  const feed = { dtype: "u8", shape: [1, WIDTH], data: new Uint8Array(WIDTH).fill(255) } as const;
  const results = await engine.run(session, { rows: feed });
  const { data } = await engine.download(results.y);
  await engine.unload(session);
  return (data as Float32Array).some((sum) => sum !== WIDTH * 127 * 127);
}

/** @file How fast the engines of a run multiply matrices: what the speed of a training step is held against. */
import { toOnnx } from "../../graph/onnx.ts";
import { operationsOf } from "../../graph/operations.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import type { Engine } from "../../runtime/engine.ts";

/** Rows and columns of the matrices: large enough for full speed, small enough for a fraction of a second. */
const SIDE = 512;
const PRODUCTS = 16;
const RUNS = 3;

/**
 * Multiplications and additions a second of all engines together, in products of float32 matrices whose data is in
 * cache. All work at once, as they do in training; the best of a few runs counts, and the first is not counted.
 */
export async function measurePeak(engines: readonly Engine[]): Promise<number> {
  const graph = productsGraph();
  const operations = operationsOf([graph]);
  const model = toOnnx({ graph });
  const feeds = Object.fromEntries(["x", "weight"].map((name) => [name, matrix()]));
  const sessions = await Promise.all(engines.map((engine) => engine.load("measuring the peak", model)));
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run <= RUNS; run++) {
    const start = performance.now();
    await Promise.all(
      engines.map(async (engine, i) => {
        const { graph } = await engine.run(sessions[i], feeds);
        await engine.free(graph);
      }),
    );
    if (run > 0) best = Math.min(best, (performance.now() - start) / 1000);
  }
  await Promise.all(engines.map((engine, i) => engine.unload(sessions[i])));
  return (engines.length * operations) / best;
}

/** Products one after the other, and a single number that comes back. */
function productsGraph(): Tensor {
  const weight = input("weight", [SIDE, SIDE]);
  let x = input("x", [SIDE, SIDE]);
  for (let i = 0; i < PRODUCTS; i++) x = x.matmul(weight);
  return x.mean([0, 1]);
}

/** Neither grows nor dies away in products: every row has a single one. */
function matrix() {
  const data = new Float32Array(SIDE * SIDE);
  for (let i = 0; i < SIDE; i++) data[i * SIDE + ((i * 7 + 3) % SIDE)] = 1;
  return { dtype: "f32" as const, shape: [SIDE, SIDE], data };
}

/** @file Products in float16: what is rounded, what is not, and what lies beyond float16. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { f32, hashed, numbers } from "../../test/helpers/host-tensor.ts";
import { runGraph } from "../../test/helpers/run-graph.ts";
import { layerNorm, linear } from "../nn/layers.ts";
import { layer, Scope } from "../nn/scope.ts";
import { Engine } from "../runtime/engine.ts";
import { f16ToFloats, floatsToF16 } from "../weights/cast.ts";
import { adaptSegment } from "./adapters.ts";
import { attention } from "./functions.ts";
import { computeInHalves } from "./halves.ts";
import { toOnnx } from "./onnx.ts";
import { printGraph } from "./print.ts";
import { type Segment, traceSegment } from "./segment.ts";
import { emit, type Tensor } from "./tensor.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

/** Queries with a norm, values without, attention, and a map of what it says. */
const attend = layer((p, x: Tensor) => {
  const q = layerNorm(p.at("norm"), linear(p.at("q"), x, 4, { bias: false }), 1e-6);
  const said = attention([q, q, linear(p.at("v"), x, 4, { bias: false })], 1);
  return linear(p.at("out"), said, 4);
});

function traced(): Segment {
  return traceSegment("block", { x: [1, 3, 4] }, ({ x }) => {
    const p = new Scope();
    return { outputs: { y: attend(p.at("a"), x).add(x) }, params: p.declared };
  });
}

test("products take and give float16, and what lies between them stays in float32", () => {
  expect(printGraph(computeInHalves(traced(), () => true).outputs)).toMatchInlineSnapshot(`
    "%0 = Input(){name="x"} f32[1, 3, 4]
    %1 = Cast(%0){to="f16"} f16[1, 3, 4] @ a.q
    %2 = Param(){key="a.q.weight"} f16[4, 4] @ a.q
    %3 = Linear(%1, %2) f16[1, 3, 4] @ a.q
    %4 = Cast(%3){to="f32"} f32[1, 3, 4] @ a.q
    %5 = Param(){key="a.norm.weight"} f32[4] @ a.norm
    %6 = Param(){key="a.norm.bias"} f32[4] @ a.norm
    %7 = LayerNorm(%4, %5, %6){eps=0.000001} f32[1, 3, 4] @ a.norm
    %8 = Cast(%7){to="f16"} f16[1, 3, 4] @ a
    %9 = Param(){key="a.v.weight"} f16[4, 4] @ a.v
    %10 = Linear(%1, %9) f16[1, 3, 4] @ a.v
    %11 = Attention(%8, %8, %10){heads=1, scale=0.5} f16[1, 3, 4] @ a
    %12 = Param(){key="a.out.weight"} f16[4, 4] @ a.out
    %13 = Param(){key="a.out.bias"} f16[4] @ a.out
    %14 = Linear(%11, %12, %13) f16[1, 3, 4] @ a.out
    %15 = Cast(%14){to="f32"} f32[1, 3, 4] @ a.out
    %16 = Add(%15, %0) f32[1, 3, 4]
    return y = %16"
  `);
});

test("layers that are not named keep their arithmetic, and so does a segment without any", () => {
  const segment = traced();
  expect(computeInHalves(segment, () => false)).toBe(segment);
  const { outputs, params } = computeInHalves(segment, (name) => name === "a.out");
  expect(params.get("a.out.bias")?.dtype).toBe("f16");
  expect(params.get("a.q.weight")?.dtype).toBe("f32");
  expect(printGraph(outputs)).toMatch(/= Linear\(%\d+, %\d+\) f32/);
});

test("an adapter's own maps stay in float32", () => {
  const layers = new Map([["a.out", { rank: 1, scale: 2 }]]);
  const { params } = computeInHalves(adaptSegment(traced(), [{ layers }]), (name) => !name.includes("lora"));
  const types = [...params].map(([key, { dtype }]) => [key, dtype]);
  expect(Object.fromEntries(types)).toMatchObject({
    "a.out.weight": "f16",
    "a.out.lora_A.weight": "f32",
    "a.out.lora_B.weight": "f32",
    "a.norm.weight": "f32",
  });
});

describe("on the processor", () => {
  test.each([[[3, 8]], [[1, 3, 8]]])(
    "rows %j of a product are rounded on their way in and out",
    async (shape) => {
      const [x, weight] = [hashed(shape, 1), hashed([5, 8], 2)];
      const y = await product(x.data as Float32Array, weight.data as Float32Array, shape);
      const exact = reference(halved(numbers(x)), halved(numbers(weight)));
      expect(y).toEqual(halved(y));
      expect(y).not.toEqual(reference(x.data as Float32Array, weight.data as Float32Array));
      expect(y).toBeCloseToArray(exact, { atol: 1e-6, rtol: 2 ** -11 });
    },
  );

  test("the bits of float16 are all that attention keeps", async () => {
    const feeds = [1, 2, 3].map((seed) => hashed([1, 50, 8], seed));
    const inHalves = (q: Tensor, k: Tensor, v: Tensor) =>
      attention([q.cast("f16"), k.cast("f16"), v.cast("f16")], 2).cast("f32");
    const y = (await runGraph(engine, inHalves, feeds)).data as Float32Array;
    const exact = (await runGraph(engine, (q, k, v) => attention([q, k, v], 2), feeds)).data as Float32Array;
    expect(y).toEqual(halved(y));
    expect(y).toBeCloseToArray(exact, { atol: 1e-3 });
  });

  test.each([
    ["a value that goes in", [7e4, 1], [1, 1]],
    ["a sum that comes out", [6e4, 6e4], [1, 1]],
  ])("%s beyond 65504 stops the run with what it may be", async (_, x, weight) => {
    await expect(product(Float32Array.from(x), Float32Array.from(weight), [1, 2])).rejects.toThrow(
      /not finite .*a value on its way is beyond 65504, where float16 ends/,
    );
  });
});

/** x Wᵀ in float16 with a matrix that is mapped from a file in float16. */
async function product(
  x: Float32Array,
  weight: Float32Array,
  shape: readonly number[],
): Promise<Float32Array> {
  const folder = temporaryFolder();
  const bits = floatsToF16(weight);
  writeFileSync(join(folder, "w"), new Uint8Array(bits.buffer));
  const storage = () => ({ dtype: "f16" as const, location: "w", offset: 0, byteLength: bits.byteLength });
  const width = shape.at(-1)!;
  const param = { key: "w", shape: [weight.length / width, width], dtype: "f16" as const };
  const map = (rows: Tensor) => emit("Linear", [rows.cast("f16"), emit("Param", [], param)], {}).cast("f32");
  const y = await runGraph(engine, map, [f32(shape, [...x])], { storage, weightsFolder: folder });
  return y.data as Float32Array;
}

function reference(x: Float32Array, weight: Float32Array): Float32Array {
  const [width, out] = [8, 5];
  return Float32Array.from({ length: (x.length / width) * out }, (_, i) => {
    const [row, column] = [Math.floor(i / out), i % out];
    let sum = 0;
    for (let k = 0; k < width; k++) sum += x[row * width + k] * weight[column * width + k];
    return sum;
  });
}

/** Values as float16 has them. */
function halved(values: ArrayLike<number>): Float32Array {
  return f16ToFloats(floatsToF16(Float32Array.from(values)));
}

test("a model says whether it computes in float16", () => {
  const { outputs } = traced();
  expect(toOnnx(outputs).inHalves).toBe(false);
  expect(toOnnx(computeInHalves(traced(), () => true).outputs).inHalves).toBe(true);
});

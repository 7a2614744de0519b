/** @file Low-rank adapters in a graph: what is written, and that it computes what merged weights would. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gradientsOrNull } from "../autodiff/grad.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { adapterKeys, adaptSegment, type GraphAdapter, withAdapters } from "./adapters.ts";
import { linearMap } from "./functions.ts";
import { toOnnx } from "./onnx.ts";
import { printGraph } from "./print.ts";
import { traceSegment } from "./segment.ts";
import { sizeOf } from "./shape.ts";
import { emit, input, type Tensor } from "./tensor.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine();
});
afterAll(() => engine.close());

const param = (key: string, shape: readonly number[]) => emit("Param", [], { key, shape });

const model = (x: Tensor) => linearMap(x, param("to_q.weight", [3, 4]), param("to_q.bias", [3]));

const adapter = (rank: number, scale: number | Tensor, name?: string): GraphAdapter => ({
  name,
  layers: new Map([["to_q", { rank, scale }]]),
});

const filled = (shape: readonly number[], seed: number): HostTensor => ({
  dtype: "f32",
  shape,
  data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(seed + 1.7 * i)),
});

async function run(y: Tensor, feeds: Readonly<Record<string, HostTensor>>): Promise<Float32Array> {
  const session = await engine.load("graph under test", toOnnx({ y }));
  const { y: result } = await engine.run(session, feeds);
  await engine.unload(session);
  return (await engine.download(result)).data as Float32Array;
}

/** `weight [out, in]` + scale · `b [out, r]` `a [r, in]` */
function merged(weight: HostTensor, a: HostTensor, b: HostTensor, scale: number): HostTensor {
  const [rank] = a.shape;
  const width = sizeOf(a.shape) / rank;
  const at = ({ data }: HostTensor, i: number) => Number(data[i]);
  const data = Float32Array.from({ length: sizeOf(weight.shape) }, (_, i) => {
    const [row, column] = [Math.floor(i / width), i % width];
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += at(b, row * rank + k) * at(a, k * width + column);
    return at(weight, i) + scale * sum;
  });
  return { ...weight, data };
}

const feeds = {
  x: filled([2, 4], 1),
  "to_q.weight": filled([3, 4], 2),
  "to_q.bias": filled([3], 3),
  "to_q.lora_A.weight": filled([2, 4], 4),
  "to_q.lora_B.weight": filled([3, 2], 5),
};

function picked(y: Tensor): Record<string, HostTensor> {
  const { inputs } = toOnnx({ y });
  return Object.fromEntries(inputs.map(({ name }) => [name, (feeds as Record<string, HostTensor>)[name]]));
}

describe("withAdapters", () => {
  test("writes a second way from the input to the output of the layer", () => {
    const { outputs } = withAdapters({ y: model(input("x", [2, 4])) }, [adapter(2, 0.5)]);
    expect(printGraph(outputs)).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} f32[2, 4]
      %1 = Param(){key="to_q.weight"} f32[3, 4]
      %2 = Param(){key="to_q.bias"} f32[3]
      %3 = Linear(%0, %1, %2) f32[2, 3]
      %4 = Param(){key="to_q.lora_A.weight"} f32[2, 4]
      %5 = Linear(%0, %4) f32[2, 2]
      %6 = Constant(){data=0.5} f32[]
      %7 = Mul(%5, %6) f32[2, 2]
      %8 = Param(){key="to_q.lora_B.weight"} f32[3, 2]
      %9 = Linear(%7, %8) f32[2, 3]
      %10 = Add(%3, %9) f32[2, 3]
      return y = %10"
    `);
  });

  test("gives the parameters it brings, and leaves a graph without the layer as it is", () => {
    const y = model(input("x", [2, 4]));
    const { params } = withAdapters({ y }, [adapter(2, 1)]);
    expect([...params].map(([key, { shape }]) => [key, shape])).toEqual([
      ["to_q.lora_A.weight", [2, 4]],
      ["to_q.lora_B.weight", [3, 2]],
    ]);
    const other: GraphAdapter = { layers: new Map([["to_k", { rank: 2, scale: 1 }]]) };
    expect(withAdapters({ y }, [other]).outputs.y).toBe(y);
  });

  test("computes what merged weights compute", async () => {
    const y = model(input("x", [2, 4]));
    const { outputs } = withAdapters({ y }, [adapter(2, 0.5)]);
    const a = feeds["to_q.lora_A.weight"];
    const b = feeds["to_q.lora_B.weight"];
    const together = { ...picked(y), "to_q.weight": merged(feeds["to_q.weight"], a, b, 0.5) };
    expect(await run(outputs.y, picked(outputs.y))).toBeCloseToArray(await run(y, together), { atol: 1e-6 });
  });

  test("changes nothing while B is zero", async () => {
    const y = model(input("x", [2, 4]));
    const { outputs } = withAdapters({ y }, [adapter(2, 3)]);
    const zero = { ...feeds["to_q.lora_B.weight"], data: new Float32Array(6) };
    const changed = await run(outputs.y, { ...picked(outputs.y), "to_q.lora_B.weight": zero });
    expect(changed).toEqual(await run(y, picked(y)));
  });

  test("adds several adapters up, each with a scale of its own, which may be fed", async () => {
    const y = model(input("x", [2, 4]));
    const scale = input("scale", []);
    const { outputs, params } = withAdapters({ y }, [adapter(2, -0.25, "one"), adapter(1, scale, "two")]);
    expect([...params.keys()]).toContain(adapterKeys("to_q", "two").b);
    const one = { a: filled([2, 4], 6), b: filled([3, 2], 7) };
    const two = { a: filled([1, 4], 8), b: filled([3, 1], 9) };
    const weight = merged(merged(feeds["to_q.weight"], one.a, one.b, -0.25), two.a, two.b, 2);
    const result = await run(outputs.y, {
      ...picked(y),
      scale: { dtype: "f32", shape: [], data: Float32Array.of(2) },
      "to_q.lora_A.one.weight": one.a,
      "to_q.lora_B.one.weight": one.b,
      "to_q.lora_A.two.weight": two.a,
      "to_q.lora_B.two.weight": two.b,
    });
    const expected = await run(y, { ...picked(y), "to_q.weight": weight });
    expect(result).toBeCloseToArray(expected, { atol: 1e-6 });
  });

  test("knows a layer whose weight is a convolution's kernel", async () => {
    const x = input("x", [2, 4]);
    const y = linearMap(x, param("to_q.weight", [3, 1, 2, 2]).reshape([3, 4]));
    const { outputs, params } = withAdapters({ y }, [adapter(2, 1)]);
    expect([...params.values()].map(({ shape }) => shape)).toEqual([
      [2, 1, 2, 2],
      [3, 2, 1, 1],
    ]);
    const shaped = (tensor: HostTensor, shape: readonly number[]) => ({ ...tensor, shape });
    const a = feeds["to_q.lora_A.weight"];
    const b = feeds["to_q.lora_B.weight"];
    const kernel = (weight: HostTensor) => ({ x: feeds.x, "to_q.weight": shaped(weight, [3, 1, 2, 2]) });
    const result = await run(outputs.y, {
      ...kernel(feeds["to_q.weight"]),
      "to_q.lora_A.weight": shaped(a, [2, 1, 2, 2]),
      "to_q.lora_B.weight": shaped(b, [3, 2, 1, 1]),
    });
    const expected = await run(y, kernel(merged(feeds["to_q.weight"], a, b, 1)));
    expect(result).toBeCloseToArray(expected, { atol: 1e-6 });
  });

  test("lets gradients through to A and B, and to what lies before the layer", () => {
    const x = param("x", [2, 4]);
    const { outputs, params } = withAdapters({ y: model(x).sum([0, 1]) }, [adapter(2, 0.5)]);
    const found = gradientsOrNull(outputs.y, [x, ...params.values()]);
    expect(found.map((gradient) => gradient?.shape)).toEqual([
      [2, 4],
      [2, 4],
      [3, 2],
    ]);
  });
});

test("a segment declares what its adapters bring", () => {
  const segment = traceSegment("block", { x: [2, 4] }, ({ x }) => {
    const weight = param("to_q.weight", [3, 4]);
    return { outputs: { y: linearMap(x, weight) }, params: new Map([["to_q.weight", weight]]) };
  });
  expect([...adaptSegment(segment, [adapter(2, 1)]).params.keys()]).toEqual([
    "to_q.weight",
    "to_q.lora_A.weight",
    "to_q.lora_B.weight",
  ]);
  expect(adaptSegment(segment, [])).toBe(segment);
});

/** @file Models as the engine reads them, with parameters fed, mapped and widened. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { counting, hashed, i32, numbers } from "../../test/helpers/host-tensor.ts";
import { runGraph } from "../../test/helpers/run-graph.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { bf16ToFloats, floatsToBf16, floatsToF16 } from "../weights/cast.ts";
import { attention, conv, gather, layerNorm, linearMap } from "./functions.ts";
import { toOnnx } from "./onnx.ts";
import type { Shape } from "./shape.ts";
import { emit, input, type Tensor } from "./tensor.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-onnx-"));
const param = (key: string, shape: Shape) => emit("Param", [], { key, shape });

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(async () => {
  await engine.close();
  rmSync(folder, { recursive: true });
});

/** Writes values at an odd offset, as safetensors files have them, and tells where they lie. */
function store(name: string, dtype: "f32" | "f16" | "bf16", values: Float32Array) {
  const data = { f32: () => values, f16: () => floatsToF16(values), bf16: () => floatsToBf16(values) }[
    dtype
  ]();
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const offset = 109;
  writeFileSync(join(folder, name), Buffer.concat([Buffer.alloc(offset), bytes, Buffer.alloc(3)]));
  return { dtype, location: name, offset, byteLength: bytes.byteLength };
}

/** Values that every float type holds exactly, so that results do not depend on where a weight was widened. */
const exact = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => ((i * 7) % 61) / 4 - 7);

/** The result with the one parameter `w` fed, and with it mapped from a file. */
async function fedAndMapped(
  build: (w: Tensor, x: Tensor) => Tensor,
  shape: Shape,
  feed: HostTensor,
  dtype: "f32" | "f16" | "bf16",
): Promise<{ fed: HostTensor; mapped: HostTensor }> {
  const values = exact(shape.reduce((n, d) => n * d, 1));
  const w: HostTensor = { dtype: "f32", shape, data: values };
  const storage = store(`${dtype}-${shape.join("x")}.bin`, dtype, values);
  const fed = await runGraph(engine, (x, weight) => build(weight, x), [feed, w]);
  const mapped = await runGraph(engine, (x) => build(param("w", shape), x), [feed], {
    weightsFolder: folder,
    storage: () => storage,
  });
  return { fed, mapped };
}

describe.each(["f32", "f16", "bf16"] as const)("a weight mapped as %s from an unaligned place", (dtype) => {
  test("gives what a fed one gives", async () => {
    const { fed, mapped } = await fedAndMapped((w, x) => linearMap(x, w), [5, 6], hashed([3, 6]), dtype);
    expect(numbers(mapped)).toEqual(numbers(fed));
  });

  test("is widened after its rows were picked", async () => {
    const ids = i32([2, 2], [3, 0, 1, 3]);
    const { fed, mapped } = await fedAndMapped((w, x) => gather(w, x), [4, 3], ids, dtype);
    expect(mapped.dtype).toBe("f32");
    expect(numbers(mapped)).toEqual(numbers(fed));
  });

  test("is widened late where it is large", async () => {
    const build = (w: Tensor, x: Tensor) => linearMap(x.mul(2), w.reshape([600, 500]));
    const { fed, mapped } = await fedAndMapped(build, [300, 1000], hashed([2, 500]), dtype);
    expect(mapped.data).toBeCloseToArray(numbers(fed), { atol: 1e-3 });
  });
});

describe("a narrow matrix that is large", () => {
  const shape = [2100, 2000];

  test.each([
    ["few rows", [3, 2000]],
    ["few rows of several samples", [2, 2, 2000]],
    ["many rows", [1100, 2000]],
  ])("multiplies %s as a fed one does", async (_, size) => {
    const { fed, mapped } = await fedAndMapped((w, x) => linearMap(x, w), shape, hashed(size), "bf16");
    expect(mapped.shape).toEqual([...size.slice(0, -1), 2100]);
    expect(mapped.data).toBeCloseToArray(numbers(fed), { atol: 1e-2 });
  });

  test("may be used twice, and with a bias", async () => {
    const build = (w: Tensor, x: Tensor) => {
      const bias = x.slice(0, 0, 1).expand([2, 2000]).reshape([-1]).slice(0, 0, 2100);
      return linearMap(x, w, bias).add(linearMap(x.mul(2), w));
    };
    const { fed, mapped } = await fedAndMapped(build, shape, hashed([2, 2000]), "bf16");
    expect(mapped.data).toBeCloseToArray(numbers(fed), { atol: 1e-2 });
  });
});

describe("toOnnx", () => {
  test("lists what must be fed and what comes out, unneeded inputs left out", () => {
    const [x] = [input("x", [2, 3]), input("unused", [1])];
    const { inputs, outputs } = toOnnx({ y: linearMap(x, param("p.weight", [4, 3])), same: x });
    expect(inputs).toEqual([
      { name: "x", shape: [2, 3], dtype: "f32" },
      { name: "p.weight", shape: [4, 3], dtype: "f32" },
    ]);
    expect(outputs).toEqual([
      { name: "out/y", shape: [2, 4], dtype: "f32" },
      { name: "out/same", shape: [2, 3], dtype: "f32" },
    ]);
  });

  test("writes the same bytes for the same graph", () => {
    const build = () => linearMap(input("x", [2, 3]).add(1), param("w", [4, 3]));
    expect(toOnnx({ y: build() }).bytes).toEqual(toOnnx({ y: build() }).bytes);
  });

  test("returns an input, a parameter and one node twice as they are", async () => {
    const x = input("x", [2]);
    const y = x.neg();
    const session = await engine.load("outputs", toOnnx({ x, w: param("w", [2]), y, again: y }));
    const feeds = { x: counting([2]), w: hashed([2]) };
    const results = await engine.run(session, feeds);
    const values = async (name: string) => numbers(await engine.download(results[name]));
    expect(await values("x")).toEqual([0, 1]);
    expect(await values("w")).toEqual(Array.from(hashInput([2], 0)));
    expect(await values("y")).toEqual([-0, -1]);
    expect(await values("again")).toEqual([-0, -1]);
  });

  test("takes scopes that are named like others' nodes", async () => {
    const y = await runGraph(engine, (x) => emit("Reshape", [x], { shape: [4] }).add(1), [counting([2, 2])]);
    expect(numbers(y)).toEqual([1, 2, 3, 4]);
  });
});

describe("a portable model", () => {
  test("normalises with a scale for each sample as the CPU's own does", async () => {
    const feeds = [hashed([2, 3, 8], 1), hashed([2, 1, 8], 2), hashed([2, 1, 8], 3)];
    const build = (x: Tensor, scale: Tensor, bias: Tensor) => layerNorm(x, scale, bias, 1e-5);
    const own = await runGraph(engine, build, feeds);
    const portable = await runGraph(engine, build, feeds, { portable: true });
    expect(numbers(portable)).toBeCloseToArray(numbers(own), { atol: 2e-6 });
  });

  test("convolves with a kernel of the input's size and padding at the end as the CPU's own does", async () => {
    const feeds = [hashed([1, 2, 2, 2], 1), hashed([3, 2, 2, 2], 2)];
    const build = (x: Tensor, weight: Tensor) => conv(x, weight, undefined, { after: [1, 1] });
    const own = await runGraph(engine, build, feeds);
    const portable = await runGraph(engine, build, feeds, { portable: true });
    expect(portable.shape).toEqual([1, 3, 2, 2]);
    expect(numbers(portable)).toBeCloseToArray(numbers(own), { atol: 1e-5 });
  });
});

test("results that operators write themselves may be used further, be given twice, or be what was fed", async () => {
  const x = input("x", [2]);
  const y = x.mul(2);
  const model = toOnnx({ y, again: y, z: y.add(1), x }, { direct: true });
  const given = await engine.run(await engine.load("direct", model), { x: counting([2]) });
  const found = Object.entries(given).map(async ([name, ref]) => [name, numbers(await engine.download(ref))]);
  const [a, b] = numbers(counting([2]));
  const twice = [2 * a, 2 * b];
  expect(Object.fromEntries(await Promise.all(found))).toEqual({
    y: twice,
    again: twice,
    z: twice.map((v) => v + 1),
    x: [a, b],
  });
});

test("a model names the nodes that not every device can run", () => {
  const table = { dtype: "f16" as const, location: "w", offset: 0, byteLength: 32 };
  const rows = gather(param("w", [4, 4]), input("ids", [1, 3], "i32"), 0);
  const { needs } = toOnnx({ y: attention([rows, rows, rows], 2) }, { storage: () => table });
  expect(needs.f16).toEqual([expect.stringContaining("Gather"), expect.stringContaining("Cast")]);
  expect(needs.attention).toEqual([expect.stringContaining("MultiHeadAttention")]);
  expect(toOnnx({ rows }, { storage: () => ({ ...table, dtype: "bf16" }) }).needs.f16).toEqual([]);
});

test.each([
  ["small", 5],
  ["large", 1300],
])("a %s fed parameter is computed with as bfloat16 holds it, where that is asked for", async (_, side) => {
  const shape = [side, 300];
  const feeds = { x: hashed([2, 300], 1), w: hashed(shape, 2), other: hashed(shape, 3) };
  const asBf16 = (tensor: HostTensor): HostTensor => {
    const bits = floatsToBf16(tensor.data as Float32Array);
    return { ...tensor, data: bf16ToFloats(bits) };
  };
  const y = linearMap(input("x", [2, 300]).add(1), param("w", shape)).sub(param("other", shape).sum([1]));
  const rounded = await engine.load("rounded", toOnnx({ y }, { rounded: (key) => key === "w" }));
  const plain = await engine.load("plain", toOnnx({ y }));
  const results = await engine.run(rounded, feeds);
  const expected = await engine.run(plain, { ...feeds, w: asBf16(feeds.w) });
  expect(numbers(await engine.download(results.y))).toEqual(numbers(await engine.download(expected.y)));
});

/** @file Quantised linear maps against the same arithmetic in plain TypeScript. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../runtime/engine.ts";
import { quantizedLayouts } from "../weights/quantize/format.ts";
import { type Rounded, roundMatrix } from "../weights/quantize/round.ts";
import { adaptSegment } from "./adapters.ts";
import { geluTanh, linearMap } from "./functions.ts";
import { toOnnx } from "./onnx.ts";
import { type LinearFormat, quantizeLinears } from "./quantize.ts";
import { type Segment, traceSegment } from "./segment.ts";
import { emit, type Tensor, toposort } from "./tensor.ts";

const [ROWS, WIDTH, OUT] = [5, 96, 24];

const formats: Readonly<Record<"int8" | "w8" | "w4", LinearFormat>> = {
  int8: { kind: "bytes", weight: "l.weight_int8", scale: "l.weight_scale" },
  w8: { kind: "blocks", weight: "l.weight_w8", scale: "l.weight_scale", bits: 8, block: 32 },
  w4: { kind: "blocks", weight: "l.weight_w4", scale: "l.weight_scale", bits: 4, block: 32 },
};
type Name = keyof typeof formats;

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

describe("bytes by bytes", () => {
  const ordinary = waves(ROWS * WIDTH, 1);

  test.each([
    ["ordinary rows", ordinary, false],
    ["7 bits for the activations", ordinary, true],
    [
      "rows of very different size",
      ordinary.map((v, i) => v * 10 ** (Math.floor(i / WIDTH) * 8 - 16)),
      false,
    ],
    ["rows that are one number", ordinary.map((_, i) => Math.floor(i / WIDTH) - 2), false],
    ["rows of one sign", ordinary.map((v, i) => (Math.abs(v) + 1) * (i < 2 * WIDTH ? -1 : 1)), false],
    ["a row with one outlier", ordinary.map((v, i) => (i === 7 ? 1e4 : v)), false],
    ["sums beyond 16 bits", ordinary.map(() => 1), false, new Float32Array(OUT * WIDTH).fill(1)],
  ])("%s", async (_, x, narrowBytes, weight: Float32Array = waves(OUT * WIDTH, 2)) => {
    const result = await run("int8", x, weight, { narrowBytes });
    const expected = byRows(x, weight, narrowBytes);
    for (let row = 0; row < ROWS; row++)
      expect(result.subarray(row * OUT, (row + 1) * OUT)).toBeCloseToArray(expected[row], {
        atol: 1e-5 * Math.max(...expected[row].map(Math.abs), 1e-30),
        rtol: 1e-5,
      });
  });

  test("gives the bias alone for rows of zeros", async () => {
    const result = await run("int8", new Float32Array(ROWS * WIDTH), waves(OUT * WIDTH, 2));
    expect(result.subarray(0, OUT)).toBeCloseToArray(waves(OUT, 3), { atol: 1e-7, rtol: 0 });
  });

  test("gives the bias alone for weights of zeros", async () => {
    const result = await run("int8", ordinary, new Float32Array(OUT * WIDTH));
    expect(result.subarray(0, OUT)).toBeCloseToArray(waves(OUT, 3), { atol: 1e-7, rtol: 0 });
  });

  test("does not hide a NaN or an infinity", async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const x = ordinary.with(WIDTH + 3, bad);
      await expect(run("int8", x, waves(OUT * WIDTH, 2))).rejects.toThrow("not finite");
    }
  });

  test("loses half as much behind a GELU as a balanced range does", async () => {
    const weight = waves(OUT * WIDTH, 2);
    const x = waves(ROWS * WIDTH, 1).map((v) => v * 3);
    const exact = await run(null, x, weight, { gelu: true });
    const positive = await run("int8", x, weight, { gelu: true });
    const activations = Float32Array.from(await geluOf(x));
    const balanced = byRows(activations, weight, false).flat();
    expect(distance(positive, exact)).toBeLessThan(0.75 * distance(Float32Array.from(balanced), exact));
  });
});

describe("weights in blocks", () => {
  test.each([
    ["w8", 8],
    ["w4", 4],
  ] as const)("%s: what the stored numbers say", async (name, bits) => {
    const x = waves(ROWS * WIDTH, 1);
    const weight = waves(OUT * WIDTH, 2);
    const stored = meantBy(roundMatrix(weight, OUT, name), bits);
    const [result, expected] = [await run(name, x, weight), await run(null, x, stored)];
    // The engine rounds activations to a byte in every block.
    expect(distance(result, expected)).toBeLessThan(
      0.01 *
        distance(
          expected,
          expected.map(() => 0),
        ),
    );
  });
});

/** The matrix that blocks of 32 numbers and their scales stand for. */
function meantBy({ weight, scale }: Rounded, bits: 4 | 8): Float32Array {
  return Float32Array.from({ length: OUT * WIDTH }, (_, i) => {
    const whole = bits === 8 ? weight[i] : (weight[i >> 1] >> (4 * (i % 2))) & 15;
    return (whole - 2 ** (bits - 1)) * scale[Math.floor(i / 32)];
  });
}

describe("the rewrite", () => {
  test("leaves a segment alone that has none of the layers", () => {
    const segment = traced();
    expect(quantizeLinears(segment, () => undefined)).toBe(segment);
  });

  test("replaces the parameters of the layers it takes", () => {
    const segment = quantizeLinears(traced(), () => formats.int8);
    expect([...segment.params.keys()].sort()).toEqual(["l.bias", "l.weight_int8", "l.weight_scale"]);
  });

  test("quantises rows once for all maps that take them", () => {
    const segment = traceSegment("three", { x: [ROWS, WIDTH] }, ({ x }) => {
      const maps = ["q", "k", "v"].map((name) => {
        const weight = emit("Param", [], { key: `${name}.weight`, shape: [OUT, WIDTH] });
        return [`${name}.weight`, weight, linearMap(x, weight)] as const;
      });
      const outputs = { y: maps[0][2].add(maps[1][2]).add(maps[2][2]) };
      return { outputs, params: new Map(maps.map(([key, weight]) => [key, weight])) };
    });
    const rewritten = quantizeLinears(segment, (layer) => ({
      kind: "bytes",
      weight: `${layer}.weight_int8`,
      scale: `${layer}.weight_scale`,
    }));
    const ops = toposort(Object.values(rewritten.outputs)).map(({ op }) => op);
    expect(ops.filter((op) => op === "QuantizeRows")).toHaveLength(1);
    expect(ops.filter((op) => op === "ByteLinear")).toHaveLength(3);
  });

  test("leaves the maps of adapters in float", () => {
    const adapted = adaptSegment(traced(), [{ layers: new Map([["l", { rank: 2, scale: 1 }]]) }]);
    const segment = quantizeLinears(adapted, (layer) => (layer === "l" ? formats.w4 : undefined));
    const ops = toposort(Object.values(segment.outputs)).map(({ op }) => op);
    expect(ops.filter((op) => op === "Linear")).toHaveLength(2);
    expect(ops).toContain("BlockLinear");
  });
});

/** x Wᵀ + b, behind a GELU if asked for. */
function traced(gelu = false): Segment<"x", "y"> {
  return traceSegment("linear", { x: [ROWS, WIDTH] }, ({ x }) => {
    const weight = emit("Param", [], { key: "l.weight", shape: [OUT, WIDTH] });
    const bias = emit("Param", [], { key: "l.bias", shape: [OUT] });
    const params = new Map<string, Tensor>([
      ["l.weight", weight],
      ["l.bias", bias],
    ]);
    return { outputs: { y: linearMap(gelu ? geluTanh(x) : x, weight, bias) }, params };
  });
}

/** The map through the engine, from quantised weights unless `name` is null. Parameters are fed. */
async function run(
  name: Name | null,
  x: Float32Array,
  weight: Float32Array,
  { narrowBytes = false, gelu = false } = {},
): Promise<Float32Array> {
  const segment = name ? quantizeLinears(traced(gelu), () => formats[name]) : traced(gelu);
  const session = await engine.load("linear", toOnnx(segment.outputs, { narrowBytes }), { prepack: true });
  const tensor = (shape: readonly number[], data: Float32Array) => ({ dtype: "f32" as const, shape, data });
  const bias = tensor([OUT], waves(OUT, 3));
  const feeds = { x: tensor([ROWS, WIDTH], x), "l.bias": bias };
  try {
    if (name === null) {
      const { y } = await engine.run(session, { ...feeds, "l.weight": tensor([OUT, WIDTH], weight) });
      return (await engine.download(y)).data as Float32Array;
    }
    const rounded = roundMatrix(weight, OUT, name);
    const [matrix, scale] = quantizedLayouts({ name: "l.weight", shape: [OUT, WIDTH] }, name);
    const stored = {
      dtype: name === "int8" ? "i8" : "u8",
      shape: matrix.shape,
      data: rounded.weight,
    } as const;
    const scales = tensor(scale.shape, rounded.scale);
    const { y } = await engine.run(session, { ...feeds, [matrix.name]: stored, [scale.name]: scales });
    return (await engine.download(y)).data as Float32Array;
  } finally {
    await engine.unload(session);
  }
}

async function geluOf(x: Float32Array): Promise<Float32Array> {
  const session = await engine.load("gelu", toOnnx({ y: traceGelu().outputs.y }));
  const { y } = await engine.run(session, { x: { dtype: "f32", shape: [ROWS, WIDTH], data: x } });
  await engine.unload(session);
  return (await engine.download(y)).data as Float32Array;
}

function traceGelu(): Segment<"x", "y"> {
  return traceSegment("gelu", { x: [ROWS, WIDTH] }, ({ x }) => ({
    outputs: { y: geluTanh(x) },
    params: new Map(),
  }));
}

/** Each row rounded around zero in the middle of 8 or 7 bits, times weights rounded to bytes, plus the bias. */
function byRows(x: Float32Array, weight: Float32Array, narrow: boolean): number[][] {
  const { weight: bytes, scale } = roundMatrix(weight, OUT, "int8");
  const zero = narrow ? 64 : 128;
  const bias = waves(OUT, 3);
  return Array.from({ length: ROWS }, (_, r) => {
    const row = x.subarray(r * WIDTH, (r + 1) * WIDTH);
    const step = Math.max(Math.max(...row) / (zero - 1), -Math.min(...row) / zero, 1e-30);
    const rounded = Array.from(row, (v) => evenRound(Math.fround(v / Math.fround(step))));
    return Array.from({ length: OUT }, (_, o) => {
      const sum = rounded.reduce((total, v, i) => total + v * bytes[i * OUT + o], 0);
      return sum * step * scale[o] + bias[o];
    });
  });
}

function evenRound(value: number): number {
  const down = Math.floor(value);
  if (value - down !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

function distance(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0));
}

/** Numbers between -1 and 1 without a pattern. */
function waves(count: number, seed: number): Float32Array {
  return Float32Array.from(
    { length: count },
    (_, i) => Math.sin((i + 1) * 12.9898 * seed + seed) * Math.cos(i * i),
  );
}

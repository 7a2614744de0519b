/** @file Cases of the operator table: a graph, what it is fed and what it must compute. */
import { readFileSync } from "node:fs";
import { emit, type Operand, type Tensor } from "../../src/graph/tensor.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { f32, hashed, i32, i64, numbers } from "./host-tensor.ts";

/** One graph with what it must compute; `expected` is in row-major order. */
export type Case = {
  readonly name: string;
  readonly feeds: readonly HostTensor[];
  readonly build: (...x: Tensor[]) => Tensor;
  readonly shape: readonly number[];
  readonly expected: readonly number[];
};

/** At least one case for every operator of a set. */
export type CaseTable<O extends string> = { readonly [K in O]: readonly [Case, ...Case[]] };

type TorchCase = { inputs: number[][]; shape: number[]; data: number[] };
const torch: Record<string, TorchCase> = JSON.parse(
  readFileSync(new URL("../fixtures/graph/ops.json", import.meta.url), "utf8"),
);

export function computed(
  name: string,
  feeds: Case["feeds"],
  build: (...x: [Tensor, Tensor, Tensor]) => Tensor,
  shape: Case["shape"],
  expected: Case["expected"],
): Case {
  return { name, feeds, build: build as Case["build"], shape, expected };
}

export function given(name: string, feed: HostTensor): Case {
  return { name, feeds: [feed], build: (x) => x, shape: feed.shape, expected: numbers(feed) };
}

/** A parameter without storage is fed under its key, here the name that `runGraph` gives to its first feed. */
export function feedsParam(): Case {
  const build = () => emit("Param", [], { key: "x0", shape: [2] }).mul(2);
  return {
    name: "without storage is an input",
    feeds: [f32([2], [1, 2])],
    build,
    shape: [2],
    expected: [2, 4],
  };
}

export function unary(
  build: (x: Tensor) => Tensor,
  compute: (v: number) => number,
  values: readonly number[] = [-2.5, -1, 0, 0.3, 4],
): Case {
  const x = f32([values.length], values);
  return computed("elementwise", [x], build, x.shape, numbers(x).map(compute));
}

export function withScalar(build: (x: Tensor) => Tensor, compute: (v: number) => number): Case {
  const x = i64([2], [-5, 6]);
  return computed("int64 with a number", [x], build, x.shape, numbers(x).map(compute));
}

type Elementwise = (a: Tensor, b: Operand) => Tensor;

export function binary(build: Elementwise, compute: (a: number, b: number) => number): [Case, Case, Case] {
  const [rows, row] = [
    [1, 2, 3, -4, 5, -6],
    [3, 2, 1],
  ];
  const expected = rows.map((v, i) => compute(v, row[i % 3]));
  return [
    computed("broadcasts a row", [f32([2, 3], rows), f32([3], row)], build, [2, 3], expected),
    computed("of int32", [i32([2, 3], rows), i32([3], row)], build, [2, 3], expected),
    computed("of int64", [i64([2, 3], rows), i64([3], row)], build, [2, 3], expected),
  ];
}

export function comparison(
  build: Elementwise,
  compute: (a: number, b: number) => boolean,
): [Case, Case, Case] {
  return binary(build, (a, b) => Number(compute(a, b)));
}

export function fromTorch(name: string, build: (...x: [Tensor, Tensor, Tensor, Tensor]) => Tensor): Case {
  const { inputs, shape, data } = torch[name];
  const feeds = inputs.map((size, key) => hashed(size, key));
  return { name, feeds, build: build as Case["build"], shape, expected: data };
}

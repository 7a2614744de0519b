/** @file Short ways to write host tensors in tests. */
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { hashInput } from "./hash-fill.ts";

type Numbers = readonly number[];

export const f32 = (shape: Numbers, values: Numbers): HostTensor => ({
  dtype: "f32",
  shape,
  data: Float32Array.from(values),
});

export const i32 = (shape: Numbers, values: Numbers): HostTensor => ({
  dtype: "i32",
  shape,
  data: Int32Array.from(values),
});

export const i64 = (shape: Numbers, values: Numbers): HostTensor => ({
  dtype: "i64",
  shape,
  data: BigInt64Array.from(values, BigInt),
});

export const i8 = (shape: Numbers, values: Numbers): HostTensor => ({
  dtype: "i8",
  shape,
  data: Int8Array.from(values),
});

export const u8 = (shape: Numbers, values: Numbers): HostTensor => ({
  dtype: "u8",
  shape,
  data: Uint8Array.from(values),
});

export const bool = (shape: Numbers, values: Numbers): HostTensor => ({
  dtype: "bool",
  shape,
  data: Uint8Array.from(values),
});

/** Uniform in -2 to 2, from the integer hash with this key. */
export const hashed = (shape: Numbers, key = 0): HostTensor => ({
  dtype: "f32",
  shape,
  data: hashInput(shape, key),
});

/** 0, 1, 2, ... as float32. */
export const counting = (shape: Numbers): HostTensor => {
  const size = shape.reduce((n, d) => n * d, 1);
  return f32(
    shape,
    Array.from({ length: size }, (_, i) => i),
  );
};

/** Elements as numbers, whatever their type. */
export const numbers = ({ data }: HostTensor): number[] => Array.from(data as ArrayLike<number>, Number);

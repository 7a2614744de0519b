/** @file The element types a graph knows, with their ONNX numbers and widths. */

export type DType = "f32" | "f16" | "bf16" | "i64" | "i32" | "i8" | "u8" | "bool";

type DTypeInfo = {
  /** `TensorProto.DataType` of the ONNX specification. */
  readonly onnx: number;
  readonly bytes: number;
  readonly float: boolean;
};

export const dtypes: { readonly [D in DType]: DTypeInfo } = {
  f32: { onnx: 1, bytes: 4, float: true },
  u8: { onnx: 2, bytes: 1, float: false },
  i8: { onnx: 3, bytes: 1, float: false },
  i32: { onnx: 6, bytes: 4, float: false },
  i64: { onnx: 7, bytes: 8, float: false },
  bool: { onnx: 9, bytes: 1, float: false },
  f16: { onnx: 10, bytes: 2, float: true },
  bf16: { onnx: 16, bytes: 2, float: true },
};

/** The typed array that holds elements of each type on the host; f16 and bf16 travel as their bit patterns. */
export type HostArray = Float32Array | Uint16Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;

const hostArrays = {
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  i64: BigInt64Array,
  i32: Int32Array,
  i8: Int8Array,
  u8: Uint8Array,
  bool: Uint8Array,
} as const;

/** A zeroed host array for `length` elements of `dtype`. */
export function hostArray(dtype: DType, length: number): HostArray {
  return new hostArrays[dtype](length);
}

/** @file Host tensors to and from the engine's own tensor type. */
import * as ort from "onnxruntime-node";
import { SessionError } from "../errors.ts";
import type { DType, HostArray } from "../graph/dtype.ts";
import type { HostTensor } from "./protocol.ts";

const ortTypes = {
  f32: "float32",
  f16: "float16",
  i64: "int64",
  i32: "int32",
  i8: "int8",
  u8: "uint8",
  bool: "bool",
} as const;

const dtypesByOrtType = new Map<string, DType>(
  Object.entries(ortTypes).map(([dtype, type]) => [type, dtype as DType]),
);

/** Wraps a host tensor without copying it. */
export function toOrt({ dtype, shape, data }: HostTensor): ort.Tensor {
  if (dtype === "bf16")
    throw new SessionError("the engine takes no bf16 tensors at run time; widen to f32 first");
  if (dtype === "f16") return float16Tensor(shape, data);
  return new ort.Tensor(ortTypes[dtype], data as Float32Array, shape);
}

/** A host view of an engine tensor that lies in CPU memory. */
export function fromOrt(tensor: ort.Tensor): HostTensor {
  const dtype = dtypesByOrtType.get(tensor.type);
  if (dtype === undefined)
    throw new SessionError(`the engine returned a tensor of unknown type ${tensor.type}`);
  return { dtype, shape: tensor.dims, data: tensor.data as HostArray };
}

/** The Tensor constructor turns float16 data into a Float16Array where that exists, which the binding then misreads. */
function float16Tensor(shape: readonly number[], data: HostArray): ort.Tensor {
  const feed = { type: "float16", data, dims: shape, location: "cpu", size: data.length };
  return feed as unknown as ort.Tensor;
}

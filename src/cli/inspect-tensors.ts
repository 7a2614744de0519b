/** @file What a safetensors file holds: every tensor's type and shape, and the metadata. */
import { readHeader } from "../weights/safetensors.ts";
import { byteSize, count } from "./numbers.ts";

/** A safetensors file, without its data. */
export type TensorsReport = {
  readonly kind: "tensors";
  readonly file: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: readonly TensorRow[];
};

/** A tensor of the file, without its data; `bytes` as it is stored. */
export type TensorRow = {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
};

/** @throws WeightsError for a file that breaks the format */
export async function inspectTensors(file: string): Promise<TensorsReport> {
  const { metadata, tensors } = await readHeader(file);
  const rows = [...tensors.values()].map(({ name, dtype, shape, byteLength }) => ({
    name,
    dtype,
    shape,
    bytes: byteLength,
  }));
  return { kind: "tensors", file, metadata, tensors: rows };
}

/** The report in lines for people. */
export function describeTensors({ file, metadata, tensors }: TensorsReport): string[] {
  const width = Math.max(0, ...tensors.map(({ name }) => name.length));
  const total = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  return [
    `${file}: ${count(tensors.length, "tensor")}, ${byteSize(total)}`,
    ...Object.entries(metadata).map(([key, value]) => `  ${key} = ${value}`),
    ...tensors.map(
      ({ name, dtype, shape }) => `  ${name.padEnd(width)}  ${dtype.padEnd(4)}  [${shape.join(", ")}]`,
    ),
  ];
}

/** @file Tensors that a part of the model is given by name, and what is said of those that do not fit. */
import { ConfigError } from "../errors.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { showNames } from "../weights/file.ts";

/** Tensors by the names they have in the file. */
export type Inputs = ReadonlyMap<string, HostTensor>;

/** An input by name. @throws ConfigError naming what is there when it is missing or of another rank */
export function need(inputs: Inputs, name: string, rank?: number): HostTensor {
  const tensor = inputs.get(name);
  if (tensor === undefined)
    throw new ConfigError(
      `the input ${name} is missing; ` +
        (inputs.size === 0
          ? "name a file that holds it with --inputs"
          : `--inputs has ${showNames(inputs.keys())}`),
    );
  if (rank !== undefined && tensor.shape.length !== rank)
    throw new ConfigError(`the input ${name} must have ${rank} axes, got [${tensor.shape.join(", ")}]`);
  return tensor;
}

/** As `need`, for what is computed with. */
export function needFloats(
  inputs: Inputs,
  name: string,
  rank?: number,
): HostTensor & { readonly data: Float32Array } {
  const { dtype, shape, data } = need(inputs, name, rank);
  if (dtype !== "f32") throw new ConfigError(`the input ${name} holds integers; floats are needed`);
  return { dtype, shape, data: data as Float32Array };
}

/** One value per sample: as given, or the only one repeated. @throws ConfigError for another number of them */
export function broadcast(inputs: Inputs, name: string, batch: number): number[] {
  const values = Array.from(need(inputs, name, 1).data as ArrayLike<number>, Number);
  if (values.length === 1) return Array(batch).fill(values[0]);
  if (values.length === batch) return values;
  throw new ConfigError(
    `the input ${name} must have 1 value or ${batch}, one a sample, got ${values.length}`,
  );
}

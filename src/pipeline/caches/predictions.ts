/** @file Predictions on the host: sums of earlier ones, and those without the prompt derived from those with it. */
import type { HostTensor } from "../../runtime/protocol.ts";
import { samplesOf, stackSamples } from "../clip-layout.ts";
import type { DenoiserInputs } from "../denoiser.ts";
import { lowPass } from "./low-pass.ts";

/** Σ weights[i] · tensors[i] in float32. */
export function sumOf(tensors: readonly HostTensor[], weights: readonly number[]): HostTensor {
  const [first] = tensors;
  const data = new Float32Array(first.data.length);
  for (const [i, weight] of weights.entries()) {
    const values = tensors[i].data as Float32Array;
    for (let at = 0; at < data.length; at++) data[at] += weight * values[at];
  }
  return { ...first, data };
}

/** The inputs of the samples with the prompt, the second half of the batch. */
export function conditionalHalf(inputs: DenoiserInputs & { readonly text: HostTensor }): DenoiserInputs {
  const { latents, text, timestep, ofs } = inputs;
  const half = <T>(values: readonly T[]) => values.slice(values.length / 2);
  return {
    ...inputs,
    latents: stackSamples(half(samplesOf(latents))),
    text: stackSamples(half(samplesOf(text))),
    timestep: half(Array.from(timestep)),
    ...(ofs ? { ofs: half(Array.from(ofs)) } : {}),
  };
}

/**
 * What a prediction without the prompt and one with it, `[2, F, C, h, w]`, differ by: the low spatial frequencies, and
 * behind them the high ones.
 */
export function unconditionalBands({ shape, data }: HostTensor): HostTensor {
  const half = data.length / 2;
  const values = data as Float32Array;
  const difference = Float32Array.from({ length: half }, (_, i) => values[i] - values[half + i]);
  const [height, width] = shape.slice(-2);
  const low = lowPass(difference, height, width);
  const bands = new Float32Array(2 * half);
  bands.set(low);
  for (let i = 0; i < half; i++) bands[half + i] = difference[i] - low[i];
  return { dtype: "f32", shape, data: bands };
}

/** A prediction with the prompt `[1, F, C, h, w]`, behind the one without it that the bands make of it. */
export function deriveUnconditional(
  conditional: HostTensor,
  [bands]: readonly HostTensor[],
  { low, high }: { readonly low: number; readonly high: number },
): HostTensor {
  const values = conditional.data as Float32Array;
  const differences = bands.data as Float32Array;
  const count = values.length;
  const both = new Float32Array(2 * count);
  for (let i = 0; i < count; i++) both[i] = values[i] + low * differences[i] + high * differences[count + i];
  both.set(values, count);
  return { dtype: "f32", shape: bands.shape, data: both };
}

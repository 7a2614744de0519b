/** @file Recorded runs of the reference: the call as options, and how far a result is from what was recorded. */
import { expect } from "vitest";
import { readFloats } from "../../src/weights/read.ts";
import { readHeader, type StoredTensor } from "../../src/weights/safetensors.ts";

/** The reference's own float32 noise is about 1e-5 on these checkpoints. */
const TOLERANCE = 1e-4;

/** The content of a case's JSON file. */
export type RecordedCall = Readonly<Record<string, string | number | boolean>>;

/** Command-line options by the reference's names; what is not recorded is left to the checkpoint. */
const options: { readonly [name: string]: string } = {
  negative_prompt: "--negative",
  guidance_scale: "--guidance",
  num_inference_steps: "--steps",
  scheduler: "--scheduler",
  seed: "--seed",
  strength: "--strength",
  num_frames: "--frames",
  height: "--height",
  width: "--width",
};

/** The prompt and the options that make the same call. */
export function optionsOf(call: RecordedCall): string[] {
  const named = Object.entries(options).filter(([name]) => call[name] !== undefined);
  return [
    String(call.prompt),
    ...named.flatMap(([name, option]) => [option, String(call[name])]),
    ...(call.use_dynamic_cfg ? ["--dynamic-cfg"] : []),
  ];
}

export async function stored(file: string, name: string): Promise<StoredTensor> {
  return (await readHeader(file)).tensors.get(name)!;
}

/** The largest absolute difference between a tensor of two files, whose shapes must agree. */
export async function difference(
  ours: string,
  reference: string,
  name: string,
  referenceName = name,
): Promise<number> {
  const [a, b] = [await stored(ours, name), await stored(reference, referenceName)];
  expect(a.shape).toEqual(b.shape);
  return worst(await readFloats(a), await readFloats(b));
}

/** The largest absolute difference of two arrays. */
export function worst(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const distance = Math.abs(a[i] - b[i]);
    // Written so that a NaN counts as the worst.
    if (!(distance <= most)) most = distance;
  }
  return most;
}

/** Prints a difference and holds it to 1e-4. */
export function report(what: string, most: number): void {
  console.log(`${what}: worst difference ${most.toExponential(2)}`);
  expect(most).toBeLessThan(TOLERANCE);
}

/** @file The transformer over a clip that is longer than what it sees at a time: window by window, then blended. */

import { sizeOf } from "../../graph/shape.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import type { DenoiserInputs, Predictor } from "../denoiser.ts";
import type { RunHooks } from "../run-hooks.ts";
import { type Window, type Windows, windowsOver } from "./windows.ts";

/**
 * A predictor for clips of `total` latent frames from one for `windows.frames` of them, which it owns. Every frame of the
 * prediction is the weighted mean of what the windows over it say (after MultiDiffusion, Bar-Tal et al. 2023). Steps of
 * the samplers are linear in the prediction, so this is the mean of the latents that the windows would come to.
 */
export function windowedPredictor(inner: Predictor, total: number, windows: Windows): Predictor {
  const places = windowsOver(total, windows);
  return {
    async predict(inputs, hooks = {}) {
      const blended = new Blended(total);
      for (const [i, place] of places.entries()) {
        const latents = windowOf(inputs.latents, place);
        const seen: DenoiserInputs = { ...inputs, latents, window: i };
        blended.add(await inner.predict(seen, partOf(hooks, i, places.length)), place);
      }
      return blended.result();
    },
    close: () => inner.close(),
  };
}

/** The frames of `[B, F, C, h, w]` that lie in a window. */
function windowOf({ shape, data }: HostTensor, { start, shares: { length } }: Window): HostTensor {
  const [batch, total, ...rest] = shape;
  const frame = sizeOf(rest);
  const part = new Float32Array(batch * length * frame);
  for (let b = 0; b < batch; b++) {
    const from = (b * total + start) * frame;
    part.set((data as Float32Array).subarray(from, from + length * frame), b * length * frame);
  }
  return { dtype: "f32", shape: [batch, length, ...rest], data: part };
}

/** Progress of part `index` of `count` as that of the whole. */
function partOf({ signal, onSegment }: RunHooks, index: number, count: number): RunHooks {
  return { signal, onSegment: (name, done, total) => onSegment?.(name, index * total + done, count * total) };
}

/** Predictions `[B, F, C, h, w]` of windows, added up by their shares. */
class Blended {
  private readonly total: number;
  private sum: HostTensor | null = null;

  constructor(total: number) {
    this.total = total;
  }

  add({ shape, data }: HostTensor, { start, shares }: Window): void {
    const [batch, , ...rest] = shape;
    const frame = sizeOf(rest);
    this.sum ??= {
      dtype: "f32",
      shape: [batch, this.total, ...rest],
      data: new Float32Array(batch * this.total * frame),
    };
    const sum = this.sum.data as Float32Array;
    for (let b = 0; b < batch; b++)
      for (const [i, share] of shares.entries()) {
        const to = (b * this.total + start + i) * frame;
        const from = (b * shares.length + i) * frame;
        for (let k = 0; k < frame; k++) sum[to + k] += share * (data as Float32Array)[from + k];
      }
  }

  result(): HostTensor {
    return this.sum!; // there is at least one window
  }
}

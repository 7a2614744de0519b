/** @file The encoder of a run's VAE, for clips of one size or of any. */
import type { Moments } from "../../diffusion/posterior.ts";
import type { Shape } from "../../graph/shape.ts";
import { input } from "../../graph/tensor.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { Engine } from "../../runtime/engine.ts";
import { encodeClips } from "../vae/codec.ts";
import { frozenPart } from "./frozen-part.ts";
import { memo } from "./memo.ts";

/** Where the VAE lies, and what it is given: `shape [B T, 3, H, W]`, the frames of `batch` clips as `encodeClips` takes them. */
export type ClipEncoderSetting = {
  readonly config: VaeConfig;
  /** The run's model. */
  readonly folder: string;
  readonly shape: Shape;
  readonly batch: number;
};

export type ClipEncoder = {
  /** Posteriors of pixels in [-1, 1] of the setting's shape. */
  readonly encode: (pixels: Float32Array) => Promise<Moments>;
  readonly close: () => Promise<void>;
};

/** An encoder that is loaded when the first pixels come. */
export function clipEncoder(setting: ClipEncoderSetting, engine: Engine): ClipEncoder {
  const { config, folder, shape, batch } = setting;
  const { run, close } = frozenPart({
    ...{ engine, folder, part: "vae", label: "VAE encoder", arena: true },
    keys: { ignore: [/^decoder\./] },
    build: (p) => encodeClips(p, input("clip", shape), config, batch),
  });
  return {
    encode: async (data) => {
      const { mean, logVariance } = await run({ clip: { dtype: "f32", shape, data } });
      return {
        shape: mean.shape,
        mean: mean.data as Float32Array,
        logVariance: logVariance.data as Float32Array,
      };
    },
    close,
  };
}

export type ClipEncoders = {
  /** Posteriors of pixels in [-1, 1] of a shape as in `ClipEncoderSetting`. */
  readonly encode: (shape: Shape, pixels: Float32Array) => Promise<Moments>;
  readonly close: () => Promise<void>;
};

/** An encoder for every shape that comes, made when it comes. */
export function clipEncoders(setting: Omit<ClipEncoderSetting, "shape">, engine: Engine): ClipEncoders {
  const made = new Map<string, ClipEncoder>();
  const encoderOf = memo((shape: Shape) => clipEncoder({ ...setting, shape }, engine), String, made);
  return {
    encode: (shape, pixels) => encoderOf(shape).encode(pixels),
    close: async () => {
      for (const encoder of made.values()) await encoder.close();
    },
  };
}

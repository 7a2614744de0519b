/** @file The encoder of a run's VAE, for clips of one size. */
import type { Shape } from "../../graph/shape.ts";
import { input } from "../../graph/tensor.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { Engine } from "../../runtime/engine.ts";
import type { Moments } from "../cache/moments.ts";
import { encodeClips } from "../vae/codec.ts";
import { frozenPart } from "./frozen-part.ts";

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

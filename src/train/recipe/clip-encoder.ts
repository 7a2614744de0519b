/** @file The encoder of a run's VAE, for clips of one size. */
import { toOnnx } from "../../graph/onnx.ts";
import { simplify } from "../../graph/rewrite.ts";
import type { Shape } from "../../graph/shape.ts";
import { input } from "../../graph/tensor.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { Scope } from "../../nn/scope.ts";
import type { Engine, Session } from "../../runtime/engine.ts";
import { mapWeights } from "../../runtime/mapped-weights.ts";
import type { Moments } from "../cache/moments.ts";
import { encodeClips } from "../vae/codec.ts";
import { openPart } from "./model-folder.ts";

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
  let loading: Promise<Session> | null = null;
  return {
    encode: async (data) => {
      loading ??= load(setting, engine);
      const clip = { dtype: "f32" as const, shape: setting.shape, data };
      const outputs = await engine.run(await loading, { clip });
      const mean = await engine.download(outputs.mean);
      const logVariance = await engine.download(outputs.logVariance);
      return {
        shape: mean.shape,
        mean: mean.data as Float32Array,
        logVariance: logVariance.data as Float32Array,
      };
    },
    close: async () => {
      if (loading !== null) await engine.unload(await loading);
    },
  };
}

async function load({ config, folder, shape, batch }: ClipEncoderSetting, engine: Engine): Promise<Session> {
  const p = new Scope();
  const moments = encodeClips(p, input("clip", shape), config, batch);
  const declared = new Map([...p.declared].map(([key, { shape }]) => [key, shape]));
  const mapped = mapWeights(await openPart(folder, "vae"), declared, { ignore: [/^decoder\./] });
  const model = toOnnx(simplify({ ...moments }), { storage: mapped.storage });
  return engine.load("VAE encoder", model, { weightsFolder: mapped.folder, arena: true });
}

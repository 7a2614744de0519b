/** @file The text-to-video model as something to train: its loss over a batch, and what a batch feeds. */
// B batch, F latent frames, C channels, H and W latent height and width, N video tokens, T text tokens
import { drawNormals } from "../../diffusion/noise.ts";
import type { NoiseSchedule } from "../../diffusion/schedule.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { t5Encode } from "../../models/t5/encoder.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import type { LatentSize } from "../../models/transformer/grid.ts";
import { type Positions, positionsFor } from "../../models/transformer/positions/positions.ts";
import { timestepFeatures } from "../../models/transformer/timestep.ts";
import { Scope } from "../../nn/scope.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { type Conditions, diffusionLoss, type Mixture } from "../diffusion/loss.ts";
import { rngFor } from "../diffusion/random.ts";
import type { LossGraph } from "../learner.ts";

/** Keys of the parts' parameters in training begin with the part's name. */
export const PARTS = { transformer: "transformer", textEncoder: "text_encoder" } as const;

/** Size of one micro-batch. */
export type TextToVideoCall = LatentSize & { readonly batch: number; readonly textLength: number };

/** The loss of one micro-batch; the text encoder is part of the graph and learns with the transformer where given. */
export type TextToVideoGraph = {
  readonly call: TextToVideoCall;
  readonly config: TransformerConfig;
  readonly positions: Positions;
  readonly graph: LossGraph;
};

/**
 * Builds the loss graph for micro-batches of one size. It takes `ids [B, T]` (with `textEncoder`) or `text [B, T, D]`,
 * and reports `perSample [B]`.
 */
export function textToVideoGraph(
  config: TransformerConfig,
  call: TextToVideoCall,
  textEncoder: T5Config | null,
): TextToVideoGraph {
  const { batch, frames, height, width, textLength } = call;
  const p = new Scope();
  const positions = positionsFor(config, call, textLength);
  const text = textEncoder
    ? t5Encode(p.at(PARTS.textEncoder), input("ids", [batch, textLength], "i32"), textEncoder)
    : input("text", [batch, textLength, config.textDim]);
  const latents = [batch, frames, config.outChannels, height, width];
  const x: Mixture & Conditions = {
    latents: input("latents", latents),
    noise: input("noise", latents),
    signal: input("signal", [batch]),
    sigma: input("sigma", [batch]),
    timestep: input("timestep", [batch, config.width]),
    text,
    ...positionInputs(positions, config),
  };
  const { loss, perSample } = diffusionLoss(p.at(PARTS.transformer), x, config);
  const name = `text to video, ${batch} x [${latents.slice(1).join(", ")}]`;
  return { call, config, positions, graph: { name, loss, report: { perSample }, params: p.declared } };
}

function positionInputs({ added, rotary }: Positions, config: TransformerConfig): Partial<Conditions> {
  const rows = (name: string, data: Float32Array, width: number): Tensor =>
    input(name, [1, data.length / width, width]);
  return {
    ...(added.kind === "rows" ? { positions: rows("positions", added.rows, config.width) } : {}),
    ...(rotary
      ? {
          rotation: {
            cos: rows("cos", rotary.cos, config.headDim / 2),
            sin: rows("sin", rotary.sin, config.headDim / 2),
          },
        }
      : {}),
  };
}

/** One micro-batch on the host. */
export type TextToVideoBatch = {
  /** Scaled latents `[F, C, H, W]` of every sample. */
  readonly latents: readonly Float32Array[];
  /** Token ids `[T]` of every sample, or text states `[T, D]`. */
  readonly text: readonly (Int32Array | Float32Array)[];
  /** One timestep per sample, 0 to 999. */
  readonly timesteps: ArrayLike<number>;
  /** Tells the noise of one batch from that of another. */
  readonly noise: { readonly seed: number; readonly step: number; readonly part: number };
};

/** What `graph` is fed for a batch, but for the weights. */
export function textToVideoFeeds(
  { call, config, positions }: TextToVideoGraph,
  schedule: NoiseSchedule,
  { latents, text, timesteps, noise }: TextToVideoBatch,
): Record<string, HostTensor> {
  const { batch, frames, height, width, textLength } = call;
  const shape = [batch, frames, config.outChannels, height, width];
  const size = shape.reduce((a, b) => a * b);
  const alphaBar = Array.from(timesteps, (t) => schedule.alphaBar[t]);
  const isIds = text[0] instanceof Int32Array;
  return {
    latents: floats(shape, join(latents, size)),
    noise: floats(shape, drawNormals(rngFor(noise.seed, "noise", noise.step, noise.part), size)),
    signal: floats([batch], Float32Array.from(alphaBar, Math.sqrt)),
    sigma: floats(
      [batch],
      Float32Array.from(alphaBar, (a) => Math.sqrt(1 - a)),
    ),
    timestep: floats([batch, config.width], timestepFeatures(timesteps, config.width, config.freqShift)),
    ...(isIds
      ? {
          ids: {
            dtype: "i32",
            shape: [batch, textLength],
            data: Int32Array.from(text.flatMap((ids) => [...ids])),
          },
        }
      : {
          text: floats(
            [batch, textLength, config.textDim],
            join(text as readonly Float32Array[], batch * textLength * config.textDim),
          ),
        }),
    ...positionFeeds(positions, config),
  };
}

function positionFeeds({ added, rotary }: Positions, { width, headDim }: TransformerConfig) {
  const rows = (data: Float32Array, columns: number) => floats([1, data.length / columns, columns], data);
  return {
    ...(added.kind === "rows" ? { positions: rows(added.rows, width) } : {}),
    ...(rotary ? { cos: rows(rotary.cos, headDim / 2), sin: rows(rotary.sin, headDim / 2) } : {}),
  };
}

function floats(shape: readonly number[], data: Float32Array): HostTensor {
  return { dtype: "f32", shape, data };
}

function join(parts: readonly Float32Array[], size: number): Float32Array {
  const all = new Float32Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

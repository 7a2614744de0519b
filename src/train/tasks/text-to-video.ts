/** @file The model as something to train, from text and what else it sees: its loss over a batch, and what a batch feeds. */
// B batch, F latent frames, C channels, H and W latent height and width, N video tokens, T text tokens
import { drawNormals } from "../../diffusion/noise.ts";
import type { NoiseSchedule } from "../../diffusion/schedule.ts";
import { ShapeError } from "../../errors.ts";
import { type Shape, sizeOf } from "../../graph/shape.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { conditionChannels, type TransformerConfig } from "../../models/transformer/config.ts";
import type { LatentSize } from "../../models/transformer/grid.ts";
import type { Positions } from "../../models/transformer/positions/positions.ts";
import { OFS, timestepFeatures } from "../../models/transformer/timestep.ts";
import { Scope } from "../../nn/scope.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { type Conditions, diffusionLoss, type Mixture, type SampleWeights } from "../diffusion/loss.ts";
import { rngFor } from "../diffusion/random.ts";
import { type StagePositions, stagePositions } from "../diffusion/stage-positions.ts";
import { paddedSize } from "../diffusion/temporal-padding.ts";
import { encodeText } from "../diffusion/text-dropout.ts";
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
 * for models that see more than the text `condition [B, F, C', H, W]` of the padded size, and reports `perSample [B]`.
 * @param placement where the stage of a training puts tokens
 * @param task what the model is for, such as "inpainting"; begins the graph's name
 */
export function textToVideoGraph(
  config: TransformerConfig,
  call: TextToVideoCall,
  textEncoder: T5Config | null,
  placement: StagePositions = { kind: "checkpoint" },
  task = "text-to-video",
): TextToVideoGraph {
  const p = new Scope();
  const positions = stagePositions(config, paddedSize(call, config.patchT), call.textLength, placement);
  const { latents, noise } = mixtureShapes(config, call);
  const x: Mixture & Conditions & SampleWeights = {
    latents: input("latents", latents),
    noise: input("noise", noise),
    signal: input("signal", [call.batch]),
    sigma: input("sigma", [call.batch]),
    weights: input("weights", [call.batch]),
    timestep: input("timestep", [call.batch, config.width]),
    text: textInput(p, call, config, textEncoder),
    ...conditionInputs(config, noise),
    ...positionInputs(positions, config),
  };
  const { loss, perSample } = diffusionLoss(p.at(PARTS.transformer), x, config);
  const name = `${task}, ${call.batch} x [${latents.slice(1).join(", ")}]`;
  return { call, config, positions, graph: { name, loss, report: { perSample }, params: p.declared } };
}

/** Shapes of latents and noise, which has more frames where temporal patches ask for them. */
export function mixtureShapes(
  config: TransformerConfig,
  call: TextToVideoCall,
): { readonly latents: number[]; readonly noise: number[] } {
  const { batch, frames, height, width } = call;
  const shape = (count: number) => [batch, count, config.outChannels, height, width];
  return { latents: shape(frames), noise: shape(paddedSize(call, config.patchT).frames) };
}

/** Text states: the input `text [B, T, D]`, or what the text encoder makes of the input `ids [B, T]`. */
export function textInput(
  p: Scope,
  { batch, textLength }: Pick<TextToVideoCall, "batch" | "textLength">,
  config: TransformerConfig,
  textEncoder: T5Config | null,
): Tensor {
  if (textEncoder === null) return input("text", [batch, textLength, config.textDim]);
  return encodeText(p.at(PARTS.textEncoder), input("ids", [batch, textLength], "i32"), textEncoder);
}

/** What models take beside the text, for noise of this shape. */
function conditionInputs(config: TransformerConfig, noise: Shape): Pick<Conditions, "condition" | "ofs"> {
  const specs = conditionSpecs(config, noise);
  return Object.fromEntries(Object.entries(specs).map(([name, shape]) => [name, input(name, shape)]));
}

/** Shapes of what models take beside the text. */
export function conditionSpecs(config: TransformerConfig, noise: Shape): { condition?: Shape; ofs?: Shape } {
  const channels = conditionChannels(config);
  return {
    ...(channels === 0 ? {} : { condition: noise.with(2, channels) }),
    ...(config.ofsDim === null ? {} : { ofs: [noise[0], config.ofsDim] }),
  };
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

/** A place in a training that has noise of its own. */
type NoisePlace = { readonly seed: number; readonly step: number; readonly part: number };

/** One micro-batch on the host. */
export type TextToVideoBatch = {
  /** Scaled latents `[F, C, H, W]` of every sample. */
  readonly latents: readonly Float32Array[];
  /** Token ids `[T]` of every sample, or text states `[T, D]`; ids that are `DROPPED` have states of zeros. */
  readonly text: readonly (Int32Array | Float32Array)[];
  /** Conditioning latents of every sample `[F, C', H, W]`, of as many frames as its noise. */
  readonly conditions?: readonly Float32Array[];
  /** One timestep per sample, 0 to 999. */
  readonly timesteps: ArrayLike<number>;
  /** What every sample counts in the mean; all the same where left out. */
  readonly weights?: Float32Array;
  /** Noise of every sample, of the shape of its padded latents, or what tells the noise of one batch from another's. */
  readonly noise: readonly Float32Array[] | NoisePlace;
};

/** What `graph` is fed for a batch, but for the weights. */
export function textToVideoFeeds(
  { call, config, positions }: TextToVideoGraph,
  schedule: NoiseSchedule,
  { latents, text, conditions, timesteps, weights, noise: given }: TextToVideoBatch,
): Record<string, HostTensor> {
  const { latents: shape, noise } = mixtureShapes(config, call);
  return {
    latents: floats(shape, joinFloats(latents)),
    noise: floats(noise, "seed" in given ? noiseAt(given, sizeOf(noise)) : joinFloats(given)),
    ...rateFeeds(timesteps, schedule, config),
    weights: floats([call.batch], weights ?? new Float32Array(call.batch).fill(1)),
    ...textFeeds(text, config, call.textLength),
    ...conditionFeeds(conditions, config, noise),
    ...positionFeeds(positions, config),
  };
}

function noiseAt({ seed, step, part }: NoisePlace, count: number): Float32Array {
  return drawNormals(rngFor(seed, "noise", step, part), count);
}

/** What follows from the timestep of every sample: how much of latents and noise there is, and its features. */
export function rateFeeds(
  timesteps: ArrayLike<number>,
  { alphaBar }: NoiseSchedule,
  { width, freqShift }: TransformerConfig,
): Record<"signal" | "sigma" | "timestep", HostTensor> {
  const batch = timesteps.length;
  const rates = (of: (alphaBar: number) => number) =>
    floats(
      [batch],
      Float32Array.from(timesteps, (t) => of(alphaBar[t])),
    );
  return {
    signal: rates(Math.sqrt),
    sigma: rates((a) => Math.sqrt(1 - a)),
    timestep: floats([batch, width], timestepFeatures(timesteps, width, freqShift)),
  };
}

/** Token ids `[T]` or text states `[T, D]` of every sample, as the input that takes them. */
export function textFeeds(
  text: readonly (Int32Array | Float32Array)[],
  { textDim }: TransformerConfig,
  textLength: number,
): Record<string, HostTensor> {
  const batch = text.length;
  if (text[0] instanceof Float32Array)
    return { text: floats([batch, textLength, textDim], joinFloats(text as readonly Float32Array[])) };
  const data = Int32Array.from(text.flatMap((ids) => [...ids]));
  return { ids: { dtype: "i32", shape: [batch, textLength], data } };
}

function conditionFeeds(
  conditions: readonly Float32Array[] | undefined,
  config: TransformerConfig,
  noise: Shape,
): Record<string, HostTensor> {
  requireConditions(config, conditions !== undefined);
  const shape = noise.with(2, conditionChannels(config));
  return {
    ...(conditions === undefined ? {} : { condition: floats(shape, joinFloats(conditions)) }),
    ...ofsFeeds(config, noise[0]),
  };
}

/** @throws ShapeError where a model is given conditioning latents that it does not take, or takes some and is given none */
export function requireConditions(config: TransformerConfig, hasSome: boolean): void {
  const channels = conditionChannels(config);
  if (channels > 0 === hasSome) return;
  throw new ShapeError(
    `a model of ${config.inChannels} input and ${config.outChannels} output channels takes ` +
      `${hasSome ? "no conditioning latents" : "conditioning latents with every sample, got none"}`,
  );
}

/** Features of `ofs` for so many samples, where the model has it. */
export function ofsFeeds({ ofsDim }: TransformerConfig, batch: number): Record<string, HostTensor> {
  if (ofsDim === null) return {};
  const features = timestepFeatures(Array<number>(batch).fill(OFS), ofsDim);
  return { ofs: floats([batch, ofsDim], features) };
}

function positionFeeds({ added, rotary }: Positions, { width, headDim }: TransformerConfig) {
  const rows = (data: Float32Array, columns: number) => floats([1, data.length / columns, columns], data);
  return {
    ...(added.kind === "rows" ? { positions: rows(added.rows, width) } : {}),
    ...(rotary ? { cos: rows(rotary.cos, headDim / 2), sin: rows(rotary.sin, headDim / 2) } : {}),
  };
}

export function floats(shape: readonly number[], data: Float32Array): HostTensor {
  return { dtype: "f32", shape, data };
}

/** The values of all parts, one part behind the other. */
export function joinFloats(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** @file Which parameters of a checkpoint training would leave as they are: declared, and no gradient arrives. */
import { unreached } from "../autodiff/grad.ts";
import { input, type Tensor } from "../graph/tensor.ts";
import type { TransformerConfig } from "../models/transformer/config.ts";
import type { LatentSize } from "../models/transformer/grid.ts";
import { trainedFrames } from "../models/transformer/positions/positions.ts";
import { spatialRatio, temporalRatio, type VaeConfig } from "../models/vae/config.ts";
import { Scope } from "../nn/scope.ts";
import { textEncoderParams, transformerParams, vaeParams } from "./new-checkpoint/declared-params.ts";
import type { ComponentName } from "./new-checkpoint/spec.ts";
import type { ModelConfigs } from "./recipe/model-folder.ts";
import { PARTS, textToVideoGraph } from "./tasks/text-to-video.ts";
import { latentShape } from "./vae/codec.ts";
import { vaeLoss } from "./vae/loss.ts";

/** Parameters of a model, and those of them that get no gradient from its loss. */
export type Reach = { readonly parameters: number; readonly unreached: readonly string[] };

/** Builds the losses of a checkpoint's models for small clips; nothing is computed. */
export function reachOfLosses({
  transformer,
  textEncoder,
  vae,
}: Omit<ModelConfigs, "schedule">): Readonly<Record<ComponentName, Reach>> {
  const call = { ...smallestClip(transformer), batch: 1, textLength: transformer.maxTextLength };
  const { loss, params } = textToVideoGraph(transformer, call, textEncoder).graph;
  const ofVae = lossOfVae(vae);
  return {
    text_encoder: reachOf(textEncoderParams(textEncoder), loss, within(params, PARTS.textEncoder)),
    transformer: reachOf(transformerParams(transformer), loss, within(params, PARTS.transformer)),
    vae: reachOf(vaeParams(vae), ofVae.loss, ofVae.params),
  };
}

type Params = ReadonlyMap<string, Tensor>;

/** @param declared what the model has; `used` what its loss declares of it */
export function reachOf(declared: ReadonlyMap<string, unknown>, loss: Tensor, used: Params): Reach {
  const unused = [...declared.keys()].filter((key) => !used.has(key));
  return { parameters: declared.size, unreached: [...unused, ...unreached(loss, used)] };
}

function within(params: Params, part: string): Params {
  const own = [...params].filter(([key]) => key.startsWith(`${part}.`));
  return new Map(own.map(([key, param]) => [key.slice(part.length + 1), param]));
}

/** One token of video, or the clips that a table of learned positions is for. */
function smallestClip(config: TransformerConfig): LatentSize {
  const { patch, patchT, sampleHeight, sampleWidth, learnedPositions } = config;
  if (learnedPositions) return { frames: trainedFrames(config), height: sampleHeight, width: sampleWidth };
  return { frames: patchT ?? 1, height: patch, width: patch };
}

/** Two chunks in time, so that every way of changing the number of frames is taken. */
function lossOfVae(config: VaeConfig): { readonly loss: Tensor; readonly params: Params } {
  const side = spatialRatio(config);
  const clip = [4 * temporalRatio(config) + 1, config.inChannels, side, side];
  const p = new Scope();
  const sample = { clip: input("clip", clip), noise: input("noise", latentShape(clip, config)) };
  const { loss } = vaeLoss(p, sample, config);
  return { loss, params: p.declared };
}

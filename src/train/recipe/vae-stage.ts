/** @file A stage of the VAE's training: clips, images and frames drawn for every step, losses as graphs, one learner. */
import { realpath } from "node:fs/promises";
import { drawNormals } from "../../diffusion/noise.ts";
import { sizeOf } from "../../graph/shape.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import type { PixelSize } from "../../media/frames.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { Scope } from "../../nn/scope.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import type { WeightSet } from "../../weights/checkpoint.ts";
import { readHeader, type StoredTensor } from "../../weights/safetensors.ts";
import { imagesInBatch } from "../diffusion/joint-images.ts";
import { drawUniform, rngFor } from "../diffusion/random.ts";
import { type Engines, Learner, type LossGraph, type MicroBatch, type StepReport } from "../learner.ts";
import { train } from "../loop.ts";
import { mean } from "../mean.ts";
import { learningRate } from "../optimiser/learning-rate.ts";
import { latentShape } from "../vae/codec.ts";
import { vaeLoss } from "../vae/loss.ts";
import { lpips } from "../vae/lpips.ts";
import { perceptualFrame, perceptualTerm, plainPerceptual } from "../vae/perceptual.ts";
import { shownSize } from "./clip-size.ts";
import { type ClipSource, clipOrder, detailOf, framesAt, framesOf, windowOf } from "./clips.ts";
import { colourTerm } from "./colour-term.ts";
import { openPart, readPart } from "./model-folder.ts";
import type { VaeStageRecipe } from "./schema.ts";
import {
  averageDecayAt,
  rateSchedule,
  type StageStart,
  type StageStep,
  type Trainee,
  updateSettings,
  withFrozen,
} from "./trainee.ts";

/** What a VAE stage is made of. */
export type VaeStageSetting = {
  readonly stage: VaeStageRecipe;
  readonly config: VaeConfig;
  /** The run's model. */
  readonly folder: string;
  readonly clips: ClipSource;
  readonly size: PixelSize;
  readonly seed: number;
  /** Steps and clips of the stages before, so that no two stages draw the same. */
  readonly stepsBefore: number;
  readonly clipsBefore: number;
  readonly engines: Engines;
};

/** The graphs of one length of clips. */
export type VaeGraphs = {
  readonly frames: number;
  readonly learning: LossGraph;
  /** The same loss that gives the reconstruction too. */
  readonly showing: LossGraph;
};

/** A stage of the VAE, with the weights of `start`. */
export async function vaeStage(setting: VaeStageSetting, start: StageStart): Promise<Trainee> {
  const { learner, graphs } = await startVae(setting, start);
  return {
    size: learner.size,
    tensors: () => learner.tensors(),
    train: (signal) => trainVae(setting, start, learner, graphs, signal),
    picture: () => reconstruction(setting, learner, graphs),
    close: () => learner.close(),
  };
}

async function* trainVae(
  setting: VaeStageSetting,
  { done, updatesBefore }: StageStart,
  learner: Learner,
  graphs: readonly VaeGraphs[],
  signal: AbortSignal,
): AsyncGenerator<StageStep> {
  const { stage } = setting;
  const batchesOf = vaeBatches(setting, graphs);
  const task = {
    steps: updatesBefore + stage.steps,
    rate: (update: number) => learningRate(update - updatesBefore, stage.steps, rateSchedule(stage)),
    averageDecay: (update: number) => averageDecayAt(update, stage),
    batches: (update: number) => batchesOf(update - updatesBefore),
  };
  for await (const report of train(learner, task, { done: updatesBefore + done, signal }))
    yield stepOf(report, report.step - updatesBefore);
}

/** What is told of a step. */
export function stepOf(report: StepReport & { rate: number; seconds: number }, step: number): StageStep {
  const { loss, gradientNorm, rate, seconds, operations, reports } = report;
  const names = Object.keys(reports[0]).filter((name) => name !== "loss");
  const partOf = (name: string) => mean(reports.map((each) => Number(each[name].data[0])));
  const parts = Object.fromEntries(names.map((name) => [name, partOf(name)]));
  return { step, loss, gradientNorm, rate, seconds, operations, parts };
}

/** The learner of a stage, and its graphs for every length of clips. */
export async function startVae(
  setting: VaeStageSetting,
  { tensors }: StageStart,
  terms?: (p: Scope) => Parameters<typeof vaeLoss>[4],
): Promise<{ learner: Learner; graphs: VaeGraphs[] }> {
  const { stage, folder, engines } = setting;
  const isTrained = (key: string) =>
    key.startsWith("decoder.") || (stage.train === "all" && key.startsWith("encoder."));
  const sets = { "": await openPart(folder, "vae"), ...(await lpipsSet(stage)) };
  const lengths = new Set([lengthOf(setting), ...(stage.imageShare > 0 ? [1] : [])]);
  const graphs = [...lengths].map((frames) => {
    const { learning, showing } = graphsFor(setting, frames, terms);
    return {
      frames,
      learning: withFrozen(learning, isTrained, sets),
      showing: withFrozen(showing, isTrained, sets),
    };
  });
  const weights = new Map([...(await readPart(folder, "vae"))].filter(([key]) => isTrained(key)));
  const settings = updateSettings(stage);
  const learner = await (tensors === null
    ? Learner.start(engines, weights, settings)
    : Learner.restore(engines, tensors, settings));
  return { learner, graphs };
}

function graphsFor(
  setting: VaeStageSetting,
  frames: number,
  terms?: (p: Scope) => Parameters<typeof vaeLoss>[4],
): Omit<VaeGraphs, "frames"> {
  const { stage, config } = setting;
  const p = new Scope();
  const { shape, latents } = sampleShapes(setting, frames);
  const sample = { clip: input("clip", shape), noise: input("noise", latents), batch: stage.batch };
  const perceptual = pictureTerm(p, stage);
  const weights = { ...stage, perceptual: perceptual === undefined ? 0 : 1 };
  const { loss, parts, reconstruction } = vaeLoss(p, sample, config, weights, { perceptual, ...terms?.(p) });
  const report = Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== undefined));
  const name = `VAE, [${shape.join(", ")}]`;
  return {
    learning: { name, loss, report, params: p.declared },
    showing: { name: `${name} with pictures`, loss, report: { reconstruction }, params: p.declared },
  };
}

/** Perceptual distance and errors in colour with their weights, where the stage has any. */
function pictureTerm(p: Scope, stage: VaeStageRecipe) {
  const terms: ((reconstruction: Tensor, clip: Tensor) => Tensor)[] = [];
  if (stage.perceptual > 0) {
    const distance = stage.lpips === undefined ? plainPerceptual() : lpips(p.at("lpips"));
    const ofFrame = perceptualTerm(distance, input("frame", [1], "i32"));
    terms.push((picture, clip) => ofFrame(picture, clip).mul(stage.perceptual));
  }
  if (stage.colour > 0) terms.push((picture, clip) => colourTerm(picture, clip).mul(stage.colour));
  if (terms.length === 0) return undefined;
  return (picture: Tensor, clip: Tensor) =>
    terms.map((term) => term(picture, clip)).reduce((sum, term) => sum.add(term));
}

async function lpipsSet({ lpips: files }: Pick<VaeStageRecipe, "lpips">): Promise<Record<string, WeightSet>> {
  if (files === undefined) return {};
  const tensors = new Map<string, StoredTensor>();
  const realPaths = new Map<string, string>();
  for (const file of files) {
    for (const [key, stored] of (await readHeader(file)).tensors) tensors.set(key, stored);
    realPaths.set(file, await realpath(file));
  }
  return { lpips: { folder: files.join(", "), tensors, totalBytes: 0, realPaths } };
}

/** The micro-batches of a step of the stage, from 1: a function of the seed and the step alone. */
export function vaeBatches(
  setting: VaeStageSetting,
  graphs: readonly VaeGraphs[],
): (step: number) => Promise<MicroBatch[]> {
  const { stage, clips, seed, stepsBefore, clipsBefore } = setting;
  const order = clipOrder(seed, clips.count);
  return (step) => {
    const global = stepsBefore + step;
    const { batch, accumulate } = stage;
    const first = clipsBefore + (step - 1) * batch * accumulate;
    const images = imagesInBatch({ seed, step: global, share: stage.imageShare }, accumulate);
    return Promise.all(
      images.map(async (isImage, part) => {
        const graph = graphs.find(({ frames }) => frames === (isImage ? 1 : lengthOf(setting)))!;
        const indices = Array.from({ length: batch }, (_, i) => order(first + part * batch + i));
        const feeds = await vaeFeeds(setting, graph, indices, { step: global, part });
        return { graph: graph.learning, feeds };
      }),
    );
  };
}

/** Clips that go through at once, with their noise. */
async function vaeFeeds(
  setting: VaeStageSetting,
  { frames }: VaeGraphs,
  indices: readonly number[],
  { step, part }: { readonly step: number; readonly part: number },
): Promise<Record<string, HostTensor>> {
  const { stage, seed } = setting;
  const { shape, latents } = sampleShapes(setting, frames);
  const clips = await Promise.all(
    indices.map((index, i) => drawClip(setting, frames, index, { step, i: part * stage.batch + i })),
  );
  const frame = perceptualFrame(seed, step, part, shape[0]);
  return {
    clip: { dtype: "f32", shape, data: sideBySide(clips, frames) },
    noise: {
      dtype: "f32",
      shape: latents,
      data: drawNormals(rngFor(seed, "posterior", step, part), sizeOf(latents)),
    },
    ...(stage.perceptual === 0 ? {} : { frame: { dtype: "i32", shape: [1], data: Int32Array.of(frame) } }),
  };
}

/** Windows that are drawn for every clip, of which the one with most in it is taken. */
const WINDOWS = 3;

/** Frames `[T, 3, H, W]` of a clip from one that is drawn, whole or a window of them. */
async function drawClip(
  { stage: { crop, frameRates }, clips, size, seed }: VaeStageSetting,
  frames: number,
  index: number,
  { step, i }: { readonly step: number; readonly i: number },
): Promise<Float32Array> {
  // Images have no rate.
  const rates = frames === 1 ? [clips.fps] : (frameRates ?? [clips.fps]);
  const fps = rates[Math.floor(drawUniform(rngFor(seed, "frame rate", step, i)) * rates.length)];
  const room = framesAt(clips, fps) - frames + 1;
  const from = Math.floor(drawUniform(rngFor(seed, "first frame", step, i)) * room);
  const whole = framesOf(await clips.pixels(index, size, fps), size, from, frames);
  if (crop === null) return whole;
  const rng = rngFor(seed, "window", step, i);
  const placeIn = (side: number) => Math.floor(drawUniform(rng) * (side - crop + 1));
  const windows = Array.from({ length: WINDOWS }, () =>
    windowOf(whole, size, { row: placeIn(size.height), column: placeIn(size.width) }, crop),
  );
  const detail = windows.map(detailOf);
  return windows[detail.indexOf(Math.max(...detail))];
}

/** Clips of so many frames as one batch: first frames of all clips first. */
function sideBySide(clips: readonly Float32Array[], frames: number): Float32Array {
  const picture = clips[0].length / frames;
  const out = new Float32Array(clips.length * clips[0].length);
  for (let t = 0; t < frames; t++)
    for (const [i, clip] of clips.entries())
      out.set(clip.subarray(t * picture, (t + 1) * picture), (t * clips.length + i) * picture);
  return out;
}

/** Shapes of a micro-batch of clips and of their latents. */
export function sampleShapes({ stage, config, size }: VaeStageSetting, frames: number) {
  const { width, height } = shownSize(stage.crop, size);
  const clip = [frames, config.inChannels, height, width];
  const [pictures, latents] = [clip, latentShape(clip, config)].map(([n, ...rest]) => [
    n * stage.batch,
    ...rest,
  ]);
  return { shape: pictures, latents };
}

/** The first clips of the order above what the VAE makes of them, `[T, 3, 2H, W]`. */
export async function reconstruction(
  setting: VaeStageSetting,
  learner: Learner,
  graphs: readonly VaeGraphs[],
  more: MicroBatch["feeds"] = {},
) {
  const { batch } = setting.stage;
  const [graph] = graphs;
  const indices = Array.from({ length: batch }, (_, i) => i % setting.clips.count);
  const feeds = await vaeFeeds(setting, graph, indices, { step: 0, part: 0 });
  const { reconstruction } = await learner.evaluate({ graph: graph.showing, feeds: { ...feeds, ...more } });
  const { shape } = sampleShapes(setting, graph.frames);
  const [, channels, height, width] = shape;
  const plane = height * width;
  const picture = channels * plane;
  const data = new Float32Array(2 * graph.frames * picture);
  for (let i = 0; i < graph.frames * 3; i++) {
    const from = Math.floor(i / 3) * batch * picture + (i % 3) * plane;
    data.set((feeds.clip.data as Float32Array).subarray(from, from + plane), 2 * i * plane);
    data.set((reconstruction.data as Float32Array).subarray(from, from + plane), (2 * i + 1) * plane);
  }
  return { data, shape: [graph.frames, 3, 2 * height, width] };
}

function lengthOf({ stage, clips }: VaeStageSetting): number {
  return stage.frames ?? clips.frames;
}

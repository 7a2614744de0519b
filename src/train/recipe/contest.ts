/** @file A stage of the VAE against a discriminator: two learners by turns, each with what the other has learned. */
import { input } from "../../graph/tensor.ts";
import { Scope } from "../../nn/scope.ts";
import type { Value } from "../../runtime/engine.ts";
import { Learner, type LossGraph, type MicroBatch, type TrainingTensors } from "../learner.ts";
import { learningRate } from "../optimiser/learning-rate.ts";
import { adversarialTerm, discriminatorLoss, gateAt, turnAt } from "../vae/adversarial.ts";
import { decodeClips, encodeClips, sampleLatents } from "../vae/codec.ts";
import { DISCRIMINATOR, initialDiscriminator } from "../vae/discriminator.ts";
import type { VaeStageRecipe } from "./schema.ts";
import {
  averageDecayAt,
  rateSchedule,
  type StageStart,
  type StageStep,
  type Trainee,
  updateSettings,
} from "./trainee.ts";
import {
  reconstruction,
  sampleShapes,
  startVae,
  stepOf,
  type VaeGraphs,
  type VaeStageSetting,
  vaeBatches,
} from "./vae-stage.ts";

type ContestRecipe = NonNullable<VaeStageRecipe["discriminator"]>;

type Contest = {
  readonly setting: VaeStageSetting;
  readonly recipe: ContestRecipe;
  readonly vae: Learner;
  readonly judge: Learner;
  readonly graphs: readonly VaeGraphs[];
  /** The discriminator's loss for every graph of the VAE. */
  readonly judging: ReadonlyMap<LossGraph, LossGraph>;
};

const isJudge = (name: string) => name.includes(`/${DISCRIMINATOR}.`);

/** The stage as a trainee; its state is that of both learners. */
export async function contestOf(
  setting: VaeStageSetting,
  recipe: ContestRecipe,
  start: StageStart,
): Promise<Trainee> {
  const own = start.tensors && filtered(start.tensors, (name) => !isJudge(name));
  const terms = () => ({ adversarial: adversarialTerm(input("gate", []), recipe, recipe.weight) });
  const { learner: vae, graphs } = await startVae(setting, { ...start, tensors: own }, terms);
  const judge = await startJudge(setting, recipe, start.tensors);
  const judging = new Map(graphs.map((each) => [each.learning, judgingGraph(setting, recipe, each.frames)]));
  const contest = { setting, recipe, vae, judge, graphs, judging };
  return {
    size: vae.size + judge.size,
    tensors: async () => new Map([...(await vae.tensors()), ...(await judge.tensors())]),
    train: (signal) => trainContest(contest, start, signal),
    picture: async () => {
      const values = await valuesFor(contest, judge);
      return reconstruction(setting, vae, graphs, { ...values, gate: scalar(0) });
    },
    close: async () => {
      await vae.close();
      await judge.close();
    },
  };
}

function startJudge(
  { stage, seed, engines }: VaeStageSetting,
  recipe: ContestRecipe,
  tensors: TrainingTensors | null,
): Promise<Learner> {
  const settings = { ...updateSettings(stage), average: false };
  const own = tensors && filtered(tensors, isJudge);
  return own !== null && own.size > 0
    ? Learner.restore(engines, own, settings)
    : Learner.start(engines, initialDiscriminator(recipe, seed), settings);
}

function judgingGraph(setting: VaeStageSetting, recipe: ContestRecipe, frames: number): LossGraph {
  const { config } = setting;
  const p = new Scope();
  const { shape, latents: noise } = sampleShapes(setting, frames);
  const clip = input("clip", shape);
  const latents = sampleLatents(encodeClips(p, clip, config), input("noise", noise));
  const pair = { clip, reconstruction: decodeClips(p, latents, config) };
  const { loss, parts } = discriminatorLoss(p, pair, recipe, recipe.kind);
  return { name: `discriminator, [${shape.join(", ")}]`, loss, report: parts, params: p.declared };
}

async function* trainContest(
  contest: Contest,
  { done, updatesBefore }: StageStart,
  signal: AbortSignal,
): AsyncGenerator<StageStep> {
  const { setting, recipe, vae, judge, graphs } = contest;
  const { stage } = setting;
  const batchesOf = vaeBatches(setting, graphs);
  for (let step = done + 1; step <= stage.steps; step++) {
    const begun = performance.now();
    const isOurs = turnAt(step - 1, recipe.start) === "vae";
    const turns = turnsUntil(step, recipe.start);
    const batches = await batchesOf(step);
    const rates = rateSchedule(isOurs ? stage : { ...stage, rate: recipe.rate });
    const rate = learningRate(step, stage.steps, rates);
    const update = isOurs ? updatesBefore + turns.vae : turns.judge;
    const averageDecay = averageDecayAt(update, stage);
    const report = await (isOurs
      ? vae.step(update, rate, await againstJudge(contest, batches, step), { averageDecay, signal })
      : judge.step(update, rate, await beforeJudge(contest, batches), { averageDecay, signal }));
    const told = stepOf({ ...report, rate, seconds: (performance.now() - begun) / 1000 }, step);
    yield isOurs ? told : { ...told, parts: { ...told.parts, discriminator: told.loss } };
  }
}

/** Turns that each has had after `step` steps. */
export function turnsUntil(step: number, start: number): { readonly vae: number; readonly judge: number } {
  const judge = step <= start ? 0 : Math.ceil((step - start) / 2);
  return { vae: step - judge, judge };
}

async function againstJudge(contest: Contest, batches: readonly MicroBatch[], step: number) {
  const gate = scalar(gateAt(step - 1, contest.recipe.start));
  const values = await valuesFor(contest, contest.judge);
  return batches.map(({ graph, feeds }) => ({ graph, feeds: { ...feeds, ...values, gate } }));
}

async function beforeJudge(contest: Contest, batches: readonly MicroBatch[]): Promise<MicroBatch[]> {
  const values = await valuesFor(contest, contest.vae);
  return batches.map(({ graph, feeds: { clip, noise } }) => ({
    graph: contest.judging.get(graph)!,
    feeds: { clip, noise, ...values },
  }));
}

/** The weights of the one that stands still: where they are, or copies for engines that do not have them. */
async function valuesFor({ setting }: Contest, learner: Learner): Promise<Record<string, Value>> {
  if (setting.engines.length === 1) return Object.fromEntries(learner.weights());
  const copies = await learner.read("weight");
  return Object.fromEntries([...copies].map(([key, param]) => [key, { dtype: "f32" as const, ...param }]));
}

function filtered(tensors: TrainingTensors, keep: (name: string) => boolean): TrainingTensors {
  return new Map([...tensors].filter(([name]) => keep(name)));
}

function scalar(value: number): Value {
  return { dtype: "f32", shape: [], data: Float32Array.of(value) };
}

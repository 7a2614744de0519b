/** @file One stage of a run as something that can be started, trained step by step, and saved. */
import { mapWeights } from "../../runtime/mapped-weights.ts";
import type { WeightSet } from "../../weights/checkpoint.ts";
import type { StoredTensor } from "../../weights/safetensors.ts";
import type { LearnerSettings, LossGraph, TrainingTensors } from "../learner.ts";
import type { Params } from "../new-checkpoint/params-file.ts";
import type { RateSchedule } from "../optimiser/learning-rate.ts";
import type { OptimiserRecipe } from "./schema.ts";

/** What a stage goes on from. */
export type StageStart = {
  /** Steps of this stage that are done. */
  readonly done: number;
  /** Updates of the optimiser before this stage, which it carries on with; 0 where it begins anew. */
  readonly updatesBefore: number;
  /** The whole state, null to begin with the weights of the model's folder. */
  readonly tensors: TrainingTensors | null;
};

/** A step of a stage that has been done. */
export type StageStep = {
  /** Counted from 1 in the stage. */
  readonly step: number;
  readonly loss: number;
  readonly gradientNorm: number;
  readonly rate: number;
  readonly seconds: number;
  /** Multiplications and additions of the step, see `operationsOf`. */
  readonly operations: number;
  /** More numbers of the step by name: terms of the loss, means over the micro-batches, or how full packed rows are. */
  readonly parts: Readonly<Record<string, number>>;
  /** Timestep and loss of every sample, where there are timesteps. */
  readonly byTimestep?: { readonly timesteps: readonly number[]; readonly losses: readonly number[] };
};

/** Losses of held-out clips: mean squared errors of the velocity, unweighted. */
export type Validated = {
  /** Mean over clips and timesteps. */
  readonly loss: number;
  /** Means over clips, from clean to noise. */
  readonly byTimestep: readonly { readonly timestep: number; readonly loss: number }[];
};

/** A stage with its graphs and weights in engines. */
export type Trainee = {
  /** Trained values. */
  readonly size: number;
  readonly train: (signal: AbortSignal) => AsyncGenerator<StageStep>;
  /** Copies of the whole state. */
  readonly tensors: () => Promise<TrainingTensors>;
  /** Losses of the averaged weights on held-out clips, where there are any. */
  readonly validate?: (signal: AbortSignal) => Promise<Validated>;
  /** A clip `[T, 3, S, S]` to look at, such as reconstructions below their originals; null where there is none. */
  readonly picture: () => Promise<{ readonly data: Float32Array; readonly shape: readonly number[] } | null>;
  readonly close: () => Promise<void>;
};

export function updateSettings(stage: OptimiserRecipe): LearnerSettings {
  const { beta1, beta2, eps, weightDecay, clip, method, storage } = stage;
  const adamW = { beta1, beta2, eps, weightDecay };
  return { adamW, muon: method === "muon", clip, average: true, storage };
}

export function rateSchedule({ rate, warmUp, decay, final }: OptimiserRecipe): RateSchedule {
  return { rate, warmUp, decay, final };
}

/** Young averages forget their start sooner: (1 + n) / (10 + n) after n updates, up to the decay of the recipe. */
export function averageDecayAt(update: number, { averageDecay }: OptimiserRecipe): number {
  return Math.min(averageDecay, (1 + update) / (10 + update));
}

/** Values of one role, such as "average", by key. */
export function valuesOf(tensors: TrainingTensors, role: "weight" | "average"): Params {
  const prefix = `${role}/`;
  return new Map(
    [...tensors].flatMap(([name, tensor]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), tensor] as const] : [],
    ),
  );
}

/** Values with a prefix before their keys, and those that have it without. */
export function withPrefix(prefix: string, params: Params): Params {
  return new Map([...params].map(([key, param]) => [`${prefix}.${key}`, param]));
}

export function withoutPrefix(prefix: string, params: Params): Params {
  return new Map(
    [...params].flatMap(([key, param]) =>
      key.startsWith(`${prefix}.`) ? [[key.slice(prefix.length + 1), param] as const] : [],
    ),
  );
}

/**
 * Lets a loss graph map the parameters that are not trained from their files.
 * @param sets weights by the prefix of their keys in the graph, "" for none
 */
export function withFrozen(
  graph: LossGraph,
  isTrained: (key: string) => boolean,
  sets: Readonly<Record<string, WeightSet>>,
): LossGraph {
  const frozen = [...graph.params].filter(([key]) => !isTrained(key));
  const tensors = new Map<string, StoredTensor>();
  for (const [prefix, set] of Object.entries(sets))
    for (const [key, stored] of set.tensors) tensors.set(prefix === "" ? key : `${prefix}.${key}`, stored);
  const known = frozen.filter(([key]) => tensors.has(key));
  if (known.length === 0) return graph;
  const merged: WeightSet = {
    folder: Object.values(sets)
      .map(({ folder }) => folder)
      .join(", "),
    tensors,
    totalBytes: 0,
    realPaths: new Map(Object.values(sets).flatMap(({ realPaths }) => [...realPaths])),
  };
  const shapes = new Map(known.map(([key, { shape }]) => [key, shape]));
  const { folder, storage } = mapWeights(merged, shapes, { ignore: [/^/] });
  return { ...graph, frozen: { folder, storage } };
}

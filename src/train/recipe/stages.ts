/** @file The stages of a recipe in their order: names, steps, and how many steps and clips come before each. */
import type { OptimiserRecipe, Recipe, TransformerStageRecipe, VaeStageRecipe } from "./schema.ts";

/** One stage with its place in the run. */
export type PlannedStage = {
  /** Such as "vae 1"; metrics and checkpoints go by it. */
  readonly name: string;
  /** Such as "vae.stages[0]"; messages go by it. */
  readonly where: string;
  readonly index: number;
  readonly stepsBefore: number;
  readonly clipsBefore: number;
  readonly clipsPerStep: number;
  /** Whether it may go on with the optimiser of the stage before. */
  readonly canCarry: boolean;
} & (
  | { readonly kind: "vae"; readonly stage: VaeStageRecipe }
  | { readonly kind: "transformer"; readonly stage: TransformerStageRecipe }
);

/** Stages of the VAE, then those of the transformer. */
export function planStages({ vae, transformer }: Recipe): PlannedStage[] {
  const all = [
    ...vae.stages.map((stage, i) => ({ kind: "vae" as const, stage, place: i })),
    ...transformer.stages.map((stage, i) => ({ kind: "transformer" as const, stage, place: i })),
  ];
  let [stepsBefore, clipsBefore] = [0, 0];
  return all.map((each, index) => {
    const clipsPerStep = each.stage.batch * each.stage.accumulate;
    const before = all[index - 1];
    const planned = {
      ...each,
      name: `${each.kind} ${each.place + 1}`,
      where: `${each.kind}.stages[${each.place}]`,
      index,
      stepsBefore,
      clipsBefore,
      clipsPerStep,
      canCarry: before !== undefined && before.kind === each.kind && trainsAlike(before.stage, each.stage),
    };
    stepsBefore += each.stage.steps;
    clipsBefore += each.stage.steps * clipsPerStep;
    return planned;
  });
}

export function totalSteps(stages: readonly PlannedStage[]): number {
  return stages.reduce((sum, { stage }) => sum + stage.steps, 0);
}

/** Moments belong to parameters; a stage that trains others cannot go on with them. */
function trainsAlike(
  a: OptimiserRecipe & Partial<VaeStageRecipe>,
  b: OptimiserRecipe & Partial<VaeStageRecipe>,
) {
  return a.train === b.train && (a.discriminator === undefined) === (b.discriminator === undefined);
}

/** Fields of two recipes that differ and change what comes out of training; the others may change on the way. */
export function changedFields(before: Recipe, now: Recipe): string[] {
  const free = new Set(["save", "sample", "validate", "cache", "output", "dtype", "guidance"]);
  const names = Object.keys({ ...before, ...now }) as (keyof Recipe)[];
  return names.filter(
    (name) => !free.has(name) && JSON.stringify(before[name]) !== JSON.stringify(now[name]),
  );
}

/** @file What a run does around the steps of a stage: open it, write its weights to the model, show the model's work. */
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { Engine } from "../../runtime/engine.ts";
import { measurePeak } from "../../runtime/rates.ts";
import { type Cache, openCache } from "../cache/cache.ts";
import type { Engines, TrainingTensors } from "../learner.ts";
import { PARTS } from "../tasks/text-to-video.ts";
import { type ClipSize, clipSizeOf, sizeKey } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import { type ConditioningSetting, conditionerOf } from "./conditioning.ts";
import { contestOf } from "./contest.ts";
import { encodeSet, type LatentSet, type LatentSetting, latentSets, measureScale } from "./latent-set.ts";
import { giveOutLora } from "./lora.ts";
import { editConfig, readConfigs, readTokenizer, replaceWeights } from "./model-folder.ts";
import { ownSizes } from "./own-sizes.ts";
import type { ShownModel } from "./samples.ts";
import type { EnginesRecipe, Recipe } from "./schema.ts";
import { stageShape } from "./stage-shape.ts";
import type { PlannedStage } from "./stages.ts";
import { sizesOf } from "./step-plan.ts";
import { textStates } from "./text-states.ts";
import { type StageStart, type Trainee, valuesOf, withoutPrefix } from "./trainee.ts";
import { transformerStage } from "./transformer-stage.ts";
import { vaeStage } from "./vae-stage.ts";
import type { HeldOut } from "./validation.ts";

/** Where a run works. */
export type Place = {
  /** The recipe's file, for messages. */
  readonly file: string;
  /** Of the run. */
  readonly folder: string;
  /** The checkpoint that is being trained. */
  readonly model: string;
  readonly clips: ClipSource;
  /** Clips to measure losses on. */
  readonly heldOut: ClipSource | null;
  /** Folder of latents and text states. */
  readonly cache: string;
  readonly signal: AbortSignal;
  readonly onEncoding: (done: number, total: number) => void;
};

/** A stage with its engines, until `close`. */
export type OpenStage = {
  readonly trainee: Trainee;
  /** Operations a second that its engines can do together, from `measurePeak`. */
  readonly peak: number;
  readonly close: () => Promise<void>;
};

/** Opens a stage: engines, weights, graphs, and for the transformer the latents of the clips. */
export async function openStage(
  recipe: Recipe,
  planned: PlannedStage,
  start: StageStart,
  place: Place,
): Promise<OpenStage> {
  const engines = startEngines(recipe[planned.kind].engines);
  try {
    const peak = await measurePeak(engines);
    const open =
      planned.kind === "vae"
        ? await openVae(recipe, planned, start, place, engines)
        : await openTransformer(recipe, planned, start, place, engines);
    return { ...open, peak };
  } catch (error) {
    await closeEngines(engines);
    throw error;
  }
}

async function openVae(
  recipe: Recipe,
  planned: Extract<PlannedStage, { kind: "vae" }>,
  start: StageStart,
  place: Place,
  engines: Engines,
): Promise<Omit<OpenStage, "peak">> {
  const { stage, stepsBefore, clipsBefore } = planned;
  const setting = {
    stage,
    config: (await readConfigs(place.model)).vae,
    folder: place.model,
    clips: place.clips,
    size: stage.size ?? recipe.data.size,
    seed: recipe.seed,
    stepsBefore,
    clipsBefore,
    engines,
  };
  const trainee = await (stage.discriminator === undefined
    ? vaeStage(setting, start)
    : contestOf(setting, stage.discriminator, start));
  return { trainee, close: () => closeAll(trainee, engines) };
}

async function openTransformer(
  recipe: Recipe,
  planned: Extract<PlannedStage, { kind: "transformer" }>,
  start: StageStart,
  place: Place,
  engines: Engines,
): Promise<Omit<OpenStage, "peak">> {
  const { stage, stepsBefore, clipsBefore } = planned;
  const configs = await readConfigs(place.model);
  const shape = stageShape(recipe, stage, configs);
  const cache = await openCache(place.cache);
  const count = Math.min(recipe.latents.clips ?? place.clips.count, place.clips.count);
  const sizes = sizesOf(stage, shape.largest);
  const encode = (clips: ClipSource, size: ClipSize, isTaken?: (index: number) => boolean) =>
    encodeClips({ ...place, clips }, cache, engines, { size, count: Math.min(count, clips.count), isTaken });
  const own = await ownSizes(stage, place.clips, count);
  const sets = await latentSets(sizes, (size) =>
    encode(place.clips, size, (index) => own === null || isCutTo(own[index], size)),
  );
  const conditioning: ConditioningSetting = {
    ...{ recipe, configs, folder: place.model, sizes, encode, engines },
  };
  const { close: closeInputs, ...inputs } = await openInputs(conditioning, shape.largest, place, cache);
  const setting = {
    ...shape,
    stage,
    recipe: recipe.transformer,
    config: configs.transformer,
    textConfig: configs.textEncoder,
    schedule: configs.schedule,
    scalingFactor: configs.vae.scalingFactor,
    folder: place.model,
    tokenizer: await readTokenizer(place.model),
    count,
    ownSizes: own,
    latents: (size: ClipSize) => sets.get(sizeKey(size))!,
    clips: place.clips,
    ...inputs,
    seed: recipe.seed,
    stepsBefore,
    clipsBefore,
    engines,
  };
  const trainee = await transformerStage(setting, start);
  const close = async () => {
    await closeInputs();
    await closeAll(trainee, engines);
  };
  return { trainee, close };
}

/** Whether a stage takes a clip of its own size at `size`, which may be that of its image. */
function isCutTo(own: ClipSize, size: ClipSize): boolean {
  return [own, { ...own, frames: 1 }].some((each) => sizeKey(each) === sizeKey(size));
}

/** What a stage of the transformer needs beside the latents of its clips, until `close`. */
async function openInputs(conditioning: ConditioningSetting, largest: ClipSize, place: Place, cache: Cache) {
  const { recipe, configs, engines } = conditioning;
  const encoder = { config: configs.textEncoder, length: configs.transformer.maxTextLength };
  const texts = recipe.transformer.trainTextEncoder
    ? null
    : await textStates(place.model, encoder, cache, engines[0]);
  const seen = { clips: place.clips, seed: recipe.seed, isTraining: true };
  const conditioner = await conditionerOf(conditioning, seen);
  const heldOut = await heldOutFor(conditioning, largest, place);
  const close = async () => {
    await texts?.close();
    await conditioner?.close();
    await heldOut?.conditioner?.close();
  };
  return { texts, conditioner, heldOut, close };
}

/** The clips that a stage measures losses on, encoded at `size`. */
async function heldOutFor(
  conditioning: ConditioningSetting,
  size: ClipSize,
  { heldOut: clips }: Place,
): Promise<HeldOut | null> {
  if (clips === null) return null;
  const { recipe, encode } = conditioning;
  const { timesteps, seed } = recipe.validate;
  const latents = await encode(clips, size);
  const seen = { clips, seed, isTraining: false };
  const conditioner = await conditionerOf({ ...conditioning, sizes: [size] }, seen);
  return { clips, latents, size, conditioner, timesteps, seed };
}

async function encodeClips(
  { model, clips, signal, onEncoding }: Place,
  cache: Cache,
  engines: Engines,
  wanted: Pick<LatentSetting, "size" | "count" | "isTaken">,
): Promise<LatentSet> {
  const setting = { config: (await readConfigs(model)).vae, folder: model, clips, ...wanted };
  const onClip = (done: number) => onEncoding(done, wanted.count);
  return encodeSet(setting, cache, engines, { signal, onClip });
}

/**
 * Writes the averaged weights of a finished stage to the run's model, and behind the last stage of the VAE the scaling
 * factor that belongs to it, unless its encoder has stayed as it was. Done twice, it is done once.
 */
export async function finishStage(
  recipe: Recipe,
  planned: PlannedStage,
  tensors: TrainingTensors,
  place: Place,
): Promise<void> {
  if (planned.kind === "vae") {
    await replaceWeights(place.model, "vae", valuesOf(tensors, "average"));
    const isLast = planned.index === recipe.vae.stages.length - 1;
    if (isLast && recipe.vae.stages.some(({ train }) => train === "all")) await scaleLatents(recipe, place);
  } else if (recipe.transformer.lora !== undefined) {
    const output = recipe.output ?? join(place.folder, "output");
    await giveOutLora(tensors, output, recipe.transformer.lora.alpha);
  } else if (recipe.transformer.variant === "none") await writeTransformer(place.model, tensors);
}

/** Measures `scaling_factor` over some clips of the training set, at their full size, and writes it to the VAE's configuration. */
async function scaleLatents({ vae, data }: Recipe, place: Place): Promise<void> {
  const engines = startEngines(vae.engines);
  try {
    const cache = await openCache(place.cache);
    const count = Math.min(vae.scaleClips, place.clips.count);
    const wanted = { size: clipSizeOf({}, data), count };
    const factor = await measureScale(await encodeClips(place, cache, engines, wanted));
    await editConfig(place.model, "vae", { scaling_factor: factor });
  } finally {
    await closeEngines(engines);
  }
}

async function writeTransformer(folder: string, tensors: TrainingTensors): Promise<void> {
  const average = valuesOf(tensors, "average");
  await replaceWeights(folder, "transformer", withoutPrefix(PARTS.transformer, average));
  const text = withoutPrefix(PARTS.textEncoder, average);
  if (text.size > 0) await replaceWeights(folder, "text_encoder", text);
}

/**
 * Lets `generate` work with the averaged weights of this moment: with a copy of the model that has them, or with the
 * model and a LoRA of them.
 */
export async function showSamples(
  { transformer: { variant, lora } }: Recipe,
  tensors: TrainingTensors,
  { folder, model }: Place,
  generate: (shown: ShownModel) => Promise<readonly string[]>,
): Promise<readonly string[]> {
  if (variant !== "none") return [];
  const preview = join(folder, "preview");
  await rm(preview, { recursive: true, force: true });
  try {
    if (lora !== undefined) {
      const file = await giveOutLora(tensors, preview, lora.alpha);
      return await generate({ folder: model, loras: [{ file }] });
    }
    await cp(model, preview, { recursive: true });
    await writeTransformer(preview, tensors);
    return await generate({ folder: preview, loras: [] });
  } finally {
    await rm(preview, { recursive: true, force: true });
  }
}

function startEngines({ count, threads }: EnginesRecipe): Engines {
  const [first, ...rest] = Array.from({ length: count }, () => new Engine({ threads }));
  return [first, ...rest];
}

async function closeAll(trainee: Trainee, engines: Engines): Promise<void> {
  await trainee.close().catch(() => {});
  await closeEngines(engines);
}

async function closeEngines(engines: Engines): Promise<void> {
  for (const engine of engines) await engine.close();
}

/** @file Reads a training recipe from YAML; every mistake is a sentence with its file and field. */
import { parseDocument } from "yaml";
import { ConfigError } from "../../errors.ts";
import { clipSizeOf, fitsInto, sizeKey } from "./clip-size.ts";
import { framesAt } from "./clips.ts";
import { conditionKinds } from "./conditioner.ts";
import { problemSentence } from "./problem-words.ts";
import {
  type DataRecipe,
  type Recipe,
  recipeSchema,
  type TransformerStageRecipe,
  type VaeStageRecipe,
} from "./schema.ts";

/**
 * Parses a recipe; what it leaves out has its default.
 * @param source the file that `text` came from, for messages
 * @throws ConfigError for text that is no YAML, an unknown field (with the nearest known one), a value that does not fit
 */
export function parseRecipe(text: string, source: string): Recipe {
  const json = readYaml(text, source);
  const result = recipeSchema.safeParse(json);
  if (!result.success)
    throw new ConfigError(problemSentence(result.error.issues[0], recipeSchema, json, source));
  checkWhole(result.data, source);
  const { transformer } = result.data;
  if (transformer.lora === undefined) return result.data;
  return { ...result.data, transformer: { ...transformer, trainTextEncoder: false } };
}

function readYaml(text: string, source: string): unknown {
  const document = parseDocument(text, { prettyErrors: true });
  if (document.errors.length > 0)
    throw new ConfigError(
      `${source} is not YAML: ${document.errors[0].message.split("\n")[0].replace(/:$/, "")}`,
    );
  const json: unknown = document.toJS() ?? {};
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw new ConfigError(`${source} must hold fields such as "seed: 1", got ${JSON.stringify(json)}`);
  return json;
}

/** What no single field can know. */
function checkWhole({ model, data, vae, transformer, latents, validate }: Recipe, source: string): void {
  if ((model.new === undefined) === (model.from === undefined))
    throw new ConfigError(
      `${source}: model must have either new (a model to be created) or from (a checkpoint folder)`,
    );
  if (transformer.lora !== undefined && (model.from === undefined || vae.stages.length > 0))
    throw new ConfigError(
      `${source}: transformer.lora corrects the model of a checkpoint as it is; give model.from, and no vae.stages`,
    );
  if (transformer.lora !== undefined && transformer.variant !== "none")
    throw new ConfigError(
      `${source}: transformer.variant is ${transformer.variant}, and a LoRA is for models as they are; leave one of them out`,
    );
  checkConditions({ data, transformer, validate }, source);
  if (model.vaeFrom !== undefined && model.new === undefined)
    throw new ConfigError(`${source}: model.vaeFrom goes with model.new; a checkpoint has its own VAE`);
  if (vae.stages.length + transformer.stages.length === 0)
    throw new ConfigError(
      `${source}: neither vae.stages nor transformer.stages has a stage; there is nothing to train`,
    );
  for (const [i, stage] of transformer.stages.entries())
    checkTransformerStage(stage, { data, transformer }, `${source}: transformer.stages[${i}]`);
  for (const [i, stage] of vae.stages.entries()) checkVaeStage(stage, data, `${source}: vae.stages[${i}]`);
  checkValidation(validate, data, source);
  if (data.kind === "shapes" && (latents.clips ?? 0) > data.clips)
    throw new ConfigError(`${source}: latents.clips is ${latents.clips}, and data.clips only ${data.clips}`);
}

function checkConditions(
  { data, transformer, validate }: Pick<Recipe, "data" | "transformer" | "validate">,
  source: string,
): void {
  const given = conditionKinds.filter((kind) => transformer[kind] !== undefined);
  if (given.length > 1)
    throw new ConfigError(
      `${source}: transformer has ${given.join(" and ")}, and a model sees one of them beside the text; leave the other out`,
    );
  if (transformer.control?.kind !== "folder") return;
  if (data.kind !== "folder")
    throw new ConfigError(
      `${source}: transformer.control names a folder, and shapes have none; take kind: edges`,
    );
  if (validate.every !== null)
    throw new ConfigError(
      `${source}: validate measures with control videos of kind edges only; leave validate out, or take edges`,
    );
}

function checkValidation(
  { every, path }: Recipe["validate"],
  { kind }: Recipe["data"],
  source: string,
): void {
  if (kind === "folder" && every !== null && path === undefined)
    throw new ConfigError(`${source}: validate needs a path, a folder of clips that data does not have`);
  if (kind === "shapes" && path !== undefined)
    throw new ConfigError(
      `${source}: validate.path is ${path}, but shapes are measured on held-out compositions; leave it out`,
    );
}

function checkVaeStage(
  { frames, frameRates, l1, l2, colour, perceptual, lpips }: VaeStageRecipe,
  data: DataRecipe,
  where: string,
): void {
  if (frameRates !== undefined) checkFrameRates(frameRates, frames ?? data.frames, data, where);
  else if (frames !== undefined && frames > data.frames)
    throw new ConfigError(`${where}.frames is ${frames}, and the clips of data have ${data.frames}`);
  if (l1 + l2 + colour + perceptual === 0)
    throw new ConfigError(`${where}: l1, l2, colour and perceptual are all 0; give one of them a weight`);
  if (lpips !== undefined && perceptual === 0)
    throw new ConfigError(
      `${where}.lpips names files, and perceptual, their weight, is 0; give it one such as 0.1, or leave lpips out`,
    );
}

/** Clips last as long at any rate, so that they have fewer frames at lower ones. */
function checkFrameRates(rates: readonly number[], frames: number, data: DataRecipe, where: string): void {
  const low = rates.find((rate) => framesAt(data, rate) < frames);
  if (low !== undefined)
    throw new ConfigError(
      `${where}.frameRates has ${low}, and the clips of data, ${data.frames} frames at ${data.fps} a second, have ` +
        `${framesAt(data, low)} frames then; the stage wants ${frames}`,
    );
  if (data.kind === "folder" && data.window === "uniform")
    throw new ConfigError(
      `${where}.frameRates is ${JSON.stringify(rates)}, and data.window: uniform shows videos at rates of their own; ` +
        "leave one of them out",
    );
}

/** Sizes are bounded by what they are cut from. */
function checkTransformerStage(
  { pack, ...stage }: TransformerStageRecipe,
  { data, transformer }: Pick<Recipe, "data" | "transformer">,
  where: string,
): void {
  const [largest, whole] = [clipSizeOf(stage, data), clipSizeOf({}, data)];
  if (!fitsInto(largest, whole))
    throw new ConfigError(`${where} wants ${sizeKey(largest)} pixels, data has ${sizeKey(whole)}`);
  if (stage.timestepWeights.every((weight) => weight === 0))
    throw new ConfigError(`${where}.timestepWeights are all 0; give some tenth of the timesteps a weight`);
  if (stage.recompute && transformer.variant !== "none")
    throw new ConfigError(
      `${where} recomputes, and the variant ${transformer.variant} is not made in pieces; leave one of them out`,
    );
  if (pack === undefined) return;
  const tooLarge = pack.sizes.find((size) => !fitsInto(size, largest));
  if (tooLarge !== undefined)
    throw new ConfigError(
      `${where}.pack.sizes has ${sizeKey(tooLarge)} pixels, the stage ${sizeKey(largest)}`,
    );
  if (pack.choose === "nearest" && data.kind === "shapes")
    throw new ConfigError(
      `${where}.pack.choose is nearest, and shapes have no sizes of their own; leave it out, and sizes are drawn`,
    );
  if (transformer.variant !== "none")
    throw new ConfigError(
      `${where} is packed, and the variant ${transformer.variant} is not made for rows; leave one of them out`,
    );
}

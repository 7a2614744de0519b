/** @file The option --like: the settings of a clip that was made before, for everything that the call leaves open. */
import { ConfigError } from "../errors.ts";
import { readRecipe } from "../media/recipe.ts";
import { loraOfRecipe, modelOfRecipe } from "../pipeline/model-name.ts";
import { isRecord } from "../weights/json.ts";
import { cacheText } from "./cache-option.ts";
import { type GenerateValues, generateTable } from "./generate-table.ts";
import { parseLoras } from "./lora-option.ts";
import { argumentsOf, parseOptions } from "./options.ts";
import { tilingTexts } from "./tiling-options.ts";

type Recipe = Readonly<Record<string, unknown>>;

/** Options that stand in a recipe under a name of their own. */
const names: { readonly [option: string]: string } = {
  model: "model",
  negative: "negativePrompt",
  width: "width",
  height: "height",
  frames: "frames",
  fps: "fps",
  steps: "steps",
  guidance: "guidance",
  unconditional: "unconditional",
  "guidance-mode": "guidanceMode",
  "guidance-rescale": "guidanceRescale",
  strength: "strength",
  "image-scaling": "imageScaling",
  chain: "chain",
  fit: "fit",
  precision: "precision",
  decoder: "decoder",
  discretisation: "discretisation",
};
/** Flags, which a recipe tells when they were set. */
const flags: { readonly [option: string]: string } = {
  "dynamic-cfg": "dynamicGuidance",
  tiling: "tiling",
  parity: "parity",
};
/** The option that names the source of a mode, which a recipe does not hold. */
const sources: { readonly [mode: string]: keyof GenerateValues } = {
  "image-to-video": "image",
  "image-to-video chain": "image",
  "video-to-video": "video",
  "control-to-video": "control",
  inversion: "invert",
};
/** The same for the pictures that an inpainted clip was made from; it may have had none. */
const pictures: { readonly [what: string]: keyof GenerateValues } = {
  "start image": "start-image",
  "end image": "end-image",
};

/**
 * The options and the prompt of a call, filled up with those of the clip in `file`; what is given wins.
 * @param say is told what the clip had that the call has not, and can be without
 */
export async function likeFile(
  file: string,
  values: GenerateValues,
  prompts: readonly string[],
  say: (line: string) => void,
): Promise<{ readonly values: GenerateValues; readonly prompts: readonly string[] }> {
  const recipe = (await readRecipe(file)) as Recipe | null;
  if (recipe?.software !== "cogvideox")
    throw new ConfigError(
      `${file} holds no recipe of this program; --like takes a clip that generate has written`,
    );
  requireSource(file, recipe, values);
  for (const option of missingPictures(recipe, values))
    say(`${file} was made with --${option} too, which is not inside; without it the prompt decides there`);
  if (recipe.latents === "given" && values.latents === undefined)
    throw new ConfigError(`${file} was made from given latents, which are not inside; give --latents`);
  const { "prompt-states": states } = values;
  if (recipe.promptStates === "given" && states === undefined && prompts.length === 0)
    throw new ConfigError(
      `${file} was made from the hidden states of a prompt, which are not inside; give --prompt-states or a prompt`,
    );
  const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  const found = { ...optionsIn(file, recipe), ...(states === undefined ? {} : { negative: undefined }) };
  const { model, lora } = found;
  if (model !== undefined) found.model = await modelOfRecipe(model);
  if (lora !== undefined) found.lora = await Promise.all(lora.map(loraHere));
  const filled = { ...found, ...given } as GenerateValues;
  const own = prompts.length > 0 || values.prompts !== undefined || states !== undefined;
  return { values: filled, prompts: own ? prompts : [String(recipe.prompt ?? "")] };
}

/** A LoRA of a recipe and its scale, by what names it here. */
async function loraHere(text: string): Promise<string> {
  const [{ file, scale }] = parseLoras([text]);
  return `${await loraOfRecipe(file)}:${scale}`;
}

/** Options of the pictures that a clip was made with and that are not given again, where others are. */
function missingPictures(recipe: Recipe, values: GenerateValues): string[] {
  return picturesOf(recipe)
    .map((what) => pictures[what])
    .filter((option) => option !== undefined && values[option] === undefined);
}

/** @throws ConfigError for a clip that was made from files, none of which is given */
function requireSource(file: string, recipe: Recipe, values: GenerateValues): void {
  const needed = [sources[String(recipe.mode)], ...picturesOf(recipe).map((what) => pictures[what])];
  const options = needed.filter((name) => name !== undefined);
  if (options.length === 0 || options.some((name) => values[name] !== undefined)) return;
  throw new ConfigError(
    `${file} was made from another file (${recipe.mode}), which is not inside; ` +
      `give ${options.map((name) => `--${name}`).join(" and ")}`,
  );
}

function picturesOf({ pictures: named }: Recipe): string[] {
  return Array.isArray(named) ? named.map(String) : [];
}

/** The options of a recipe, held to the same rules as those of a call: a file may say anything. @throws ConfigError */
function optionsIn(file: string, recipe: Recipe): Partial<GenerateValues> {
  try {
    const { values } = parseOptions(argumentsOf(optionsOf(recipe)), generateTable, []);
    return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  } catch (cause) {
    throw new ConfigError(`the recipe in ${file} cannot be used: ${(cause as Error).message}`, { cause });
  }
}

function optionsOf(recipe: Recipe): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  for (const [option, name] of Object.entries(names)) {
    const value = recipe[name];
    if (typeof value === "string" || typeof value === "number") options[option] = value;
  }
  for (const [option, name] of Object.entries(flags)) if (recipe[name] === true) options[option] = true;
  const { seed, scheduler, guidanceInterval, projectedGuidance, zeroStar, stg, loras, cache } = recipe;
  add(options, recipe.decoder, null, { file: "decoder" });
  if (typeof seed === "number") options.seed = String(seed);
  if (scheduler === "ddim" || scheduler === "dpm") options.scheduler = scheduler;
  if (Array.isArray(guidanceInterval)) options["guidance-interval"] = guidanceInterval.join();
  if (isRecord(cache)) options.cache = cacheText(cache);
  add(options, projectedGuidance, "apg", {
    eta: "apg-eta",
    momentum: "apg-momentum",
    threshold: "apg-threshold",
  });
  add(options, zeroStar, "cfg-zero", { zeroSteps: "zero-steps" });
  add(options, stg, null, { scale: "stg", rescale: "stg-rescale" });
  if (isRecord(stg) && Array.isArray(stg.layers)) options["stg-layers"] = stg.layers.join();
  if (isRecord(recipe.tiling)) Object.assign(options, tilingTexts(recipe.tiling));
  addLength(options, recipe);
  if (picturesOf(recipe).length > 0 && typeof recipe.imageNoise === "number")
    options["image-noise"] = recipe.imageNoise;
  if (Array.isArray(loras))
    options.lora = loras.filter(isRecord).map(({ file, scale }) => `${file}:${scale}`);
  return options;
}

/** What a recipe says of clips that are longer than the model's; of a chain it counts the frames of all clips. */
function addLength(options: Record<string, unknown>, { longVideo, chain, frames }: Recipe): void {
  add(options, longVideo, null, { riflex: "riflex", freeNoise: "free-noise" });
  if (isRecord(longVideo))
    add(options, longVideo.window, null, { frames: "window", overlap: "overlap", blend: "window-blend" });
  if (typeof chain === "number" && typeof frames === "number") options.frames = (frames - 1) / chain + 1;
}

/** Options that stand in an object of the recipe, and the flag that calls for it. */
function add(
  options: Record<string, unknown>,
  found: unknown,
  flag: string | null,
  fields: Readonly<Record<string, string>>,
): void {
  if (!isRecord(found)) return;
  if (flag !== null) options[flag] = true;
  for (const [field, option] of Object.entries(fields)) {
    const value = found[field];
    // No option of these is a list, and as a text a list is refused.
    if (value !== undefined) options[option] = typeof value === "object" ? String(value) : value;
  }
}

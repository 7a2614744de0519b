/** @file The option --like: the settings of a clip that was made before, for everything that the call leaves open. */
import { ConfigError } from "../errors.ts";
import { readRecipe } from "../media/recipe.ts";
import type { GenerateValues } from "./generate-table.ts";

type Recipe = Readonly<Record<string, unknown>>;

/** Options that stand in a recipe under a name of their own. */
const names: { readonly [option: string]: string } = {
  model: "model",
  negative: "negativePrompt",
  width: "width",
  height: "height",
  frames: "frames",
  steps: "steps",
  guidance: "guidance",
  "guidance-mode": "guidanceMode",
  "guidance-rescale": "guidanceRescale",
  strength: "strength",
  "image-scaling": "imageScaling",
  fit: "fit",
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
  "video-to-video": "video",
  "control-to-video": "control",
  inversion: "invert",
};

/** The options and the prompt of a call, filled up with those of the clip in `file`; what is given wins. */
export async function likeFile(
  file: string,
  values: GenerateValues,
  prompts: readonly string[],
): Promise<{ readonly values: GenerateValues; readonly prompts: readonly string[] }> {
  const recipe = (await readRecipe(file)) as Recipe | null;
  if (recipe?.software !== "cogvideox")
    throw new ConfigError(
      `${file} holds no recipe of this program; --like takes a clip that generate has written`,
    );
  const source = sources[String(recipe.mode)];
  if (source !== undefined && values[source] === undefined)
    throw new ConfigError(
      `${file} was made from another file (${recipe.mode}), which is not inside; give --${source}`,
    );
  if (recipe.latents === "given" && values.latents === undefined)
    throw new ConfigError(`${file} was made from given latents, which are not inside; give --latents`);
  const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  const filled = { ...optionsOf(recipe), ...given } as GenerateValues;
  const own = prompts.length > 0 || values.prompts !== undefined;
  return { values: filled, prompts: own ? prompts : [String(recipe.prompt ?? "")] };
}

function optionsOf(recipe: Recipe): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  for (const [option, name] of Object.entries(names)) {
    const value = recipe[name];
    if (typeof value === "string" || typeof value === "number") options[option] = value;
  }
  for (const [option, name] of Object.entries(flags)) if (recipe[name] === true) options[option] = true;
  const { seed, scheduler, guidanceInterval, projectedGuidance, zeroStar, stg, loras } = recipe;
  if (typeof seed === "number") options.seed = String(seed);
  if (scheduler === "ddim" || scheduler === "dpm") options.scheduler = scheduler;
  if (Array.isArray(guidanceInterval)) options["guidance-interval"] = guidanceInterval.join();
  add(options, projectedGuidance, "apg", {
    eta: "apg-eta",
    momentum: "apg-momentum",
    threshold: "apg-threshold",
  });
  add(options, zeroStar, "cfg-zero", { zeroSteps: "zero-steps" });
  add(options, stg, null, { scale: "stg", rescale: "stg-rescale" });
  if (isRecord(stg) && Array.isArray(stg.layers)) options["stg-layers"] = stg.layers.join();
  if (Array.isArray(loras))
    options.lora = loras.filter(isRecord).map(({ file, scale }) => `${file}:${scale}`);
  return options;
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
  for (const [field, option] of Object.entries(fields))
    if (found[field] !== undefined) options[option] = found[field];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

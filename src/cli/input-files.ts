/** @file The files that a call of generate names, to make its clips from. */
import { nothingAt } from "../errors.ts";
import { exists } from "../weights/file.ts";
import type { GenerateValues } from "./generate-table.ts";
import { parseLoras } from "./lora-option.ts";

/** Options that name the picture or video of a mode. */
export const sourceNames = ["image", "video", "control", "start-image", "end-image", "invert"] as const;

/** Files and folders beside the model that the clips are made from, as the options name them. */
export function inputFiles(values: GenerateValues): string[] {
  const { lora, decoder, latents, "prompt-states": states } = values;
  const sources = sourceNames.map((name) => values[name]);
  const loras = parseLoras(lora).map(({ file }) => file);
  return [...sources, latents, states, ...loras, ownDecoder(decoder)].filter((file) => file !== undefined);
}

/** @throws ConfigError for the first file that a call names and that is not there */
export async function requireInputs(values: GenerateValues): Promise<void> {
  const named = [...inputFiles(values), ownDecoder(values["preview-decoder"])];
  for (const file of named) if (file !== undefined && !(await exists(file))) throw nothingAt(file);
}

/** The file of a decoder, unless it is the one in the model's folder. */
function ownDecoder(decoder: string | undefined): string | undefined {
  return decoder === "tiny" ? undefined : decoder;
}

/** @file Options for spatio-temporal guidance. */
import type { SpatioTemporalGuidance } from "../diffusion/stg.ts";
import { ConfigError } from "../errors.ts";
import type { OptionTable, OptionValues } from "./options.ts";

/** Options of guidance that leaves blocks out. */
export const stgOptions = {
  stg: { kind: "number", about: "spatio-temporal guidance scale (0); 1 is usual, costs half a step more" },
  "stg-layers": { kind: "text", value: "N,N", about: "blocks that --stg leaves out (11)" },
  "stg-rescale": { kind: "flag", about: "with --stg, keep the spread of the prediction" },
} as const satisfies OptionTable;

/** What the options ask for. @throws ConfigError for options without --stg, or layers that are no numbers */
export function stgOf(values: OptionValues<typeof stgOptions>): SpatioTemporalGuidance | undefined {
  const { stg: scale, "stg-layers": layers, "stg-rescale": rescale } = values;
  if (scale === undefined) {
    if (layers === undefined && rescale === undefined) return undefined;
    throw new ConfigError("--stg-layers and --stg-rescale need --stg");
  }
  return { scale, rescale, ...(layers === undefined ? {} : { layers: parseLayers(layers) }) };
}

function parseLayers(text: string): number[] {
  if (/^\d+(,\d+)*$/.test(text)) return text.split(",").map(Number);
  throw new ConfigError(
    `--stg-layers must be whole numbers with commas between, such as 10,11, got "${text}"`,
  );
}

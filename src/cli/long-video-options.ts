/** @file Options for clips that are longer than those a model was trained on. */
import { ConfigError } from "../errors.ts";
import type { LongVideoOptions } from "../pipeline/long-video/long-video.ts";
import { type Blend, blends } from "../pipeline/long-video/windows.ts";
import type { OptionTable, OptionValues } from "./options.ts";

/** Options about the length of a clip. */
export const longVideoOptions = {
  riflex: {
    kind: "text",
    value: "auto|K",
    about: "RIFLEx: lower time frequency K so that long clips do not repeat",
  },
  window: { kind: "integer", about: "frames that the model sees at a time, 8k + 1 (all of the clip)" },
  overlap: { kind: "integer", about: "with --window, frames that neighbours share (a third)" },
  "window-blend": {
    kind: "text",
    choices: blends,
    about: "with --window, how neighbours are mixed (pyramid)",
  },
  "free-noise": { kind: "flag", about: "with --window, begin all windows from the same noise, shuffled" },
} as const satisfies OptionTable;

/** What the options ask for. @throws ConfigError for options that lack --window, or a frequency that is no number */
export function longVideoOf(values: OptionValues<typeof longVideoOptions>): LongVideoOptions | undefined {
  const { window: frames, overlap, "window-blend": blend, "free-noise": freeNoise } = values;
  for (const name of ["overlap", "window-blend", "free-noise"] as const)
    if (frames === undefined && values[name] !== undefined) throw new ConfigError(`--${name} needs --window`);
  if (values.riflex === undefined && frames === undefined) return undefined;
  return {
    ...(values.riflex === undefined ? {} : { riflex: parseRiflex(values.riflex) }),
    ...(frames === undefined ? {} : { window: { frames, overlap, blend: blend as Blend | undefined } }),
    ...(freeNoise ? { freeNoise } : {}),
  };
}

/** Options that mean one clip, which a chain of them is not. */
const forOneClip = ["latents", "save-latents", "checkpoint-dir"] as const;

/** @throws ConfigError for a chain of clips with what belongs to one */
export function requireUnchained(
  values: { readonly chain?: number } & { readonly [K in (typeof forOneClip)[number]]?: string },
): void {
  const given = forOneClip.find((name) => values[name] !== undefined);
  if (values.chain !== undefined && given !== undefined)
    throw new ConfigError(`--${given} is for one clip and does not work with --chain`);
}

function parseRiflex(text: string): "auto" | number {
  if (text === "auto") return text;
  if (/^\d+$/.test(text)) return Number(text);
  throw new ConfigError(`--riflex must be auto or the number of a frequency from 1, got "${text}"`);
}

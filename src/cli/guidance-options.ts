/** @file Options that say how strongly a clip follows its prompt. */
import { type GuidanceMode, guidanceModes } from "../diffusion/guidance.ts";
import { ConfigError } from "../errors.ts";
import {
  type GuidanceOptions,
  guidanceOf,
  type Unconditional,
  unconditionals,
} from "../pipeline/guidance-options.ts";
import type { OptionTable, OptionValues } from "./options.ts";

/** Guidance, its course over the run, and the methods that mend what high scales do. */
export const guidanceTable = {
  guidance: { kind: "number", about: "guidance scale (6, or what the checkpoint says); 1 switches it off" },
  unconditional: {
    kind: "text",
    choices: unconditionals,
    about: "lead away from the negative prompt, or from zeros as SAT does (prompt)",
  },
  "guidance-mode": {
    kind: "text",
    choices: guidanceModes,
    about: "how the scale goes over the run (constant)",
  },
  "dynamic-cfg": { kind: "flag", about: "let the guidance weight follow the timestep: --guidance-mode wave" },
  "guidance-interval": {
    kind: "text",
    value: "A,B",
    about: "guide between these shares of the run (0,1); steps outside are faster",
  },
  "guidance-rescale": {
    kind: "number",
    about: "pull the contrast back to that without guidance, 0 to 1 (0)",
  },
  apg: { kind: "flag", about: "adaptive projected guidance: high scales without burnt colours" },
  "apg-eta": { kind: "number", about: "with --apg, share of the parallel part that is kept (0)" },
  "apg-momentum": { kind: "number", about: "with --apg, weight of earlier steps (-0.5)" },
  "apg-threshold": {
    kind: "number",
    about: "with --apg, longest difference, as a norm over the latents (none)",
  },
  "cfg-zero": {
    kind: "flag",
    about: "CFG-Zero*: scale what is said without the prompt, stand still at first",
  },
  "zero-steps": { kind: "integer", about: "with --cfg-zero, first steps that stand still (1)" },
} as const satisfies OptionTable;

/** What the options ask for. @throws ConfigError for numbers out of range, and options without their companion */
export function guidanceOptionsOf(
  values: OptionValues<typeof guidanceTable> & { readonly negative?: string },
): GuidanceOptions {
  const { apg, "apg-eta": eta, "apg-momentum": momentum, "apg-threshold": threshold } = values;
  if (!apg && (eta !== undefined || momentum !== undefined || threshold !== undefined))
    throw new ConfigError("--apg-eta, --apg-momentum and --apg-threshold need --apg");
  const { "cfg-zero": zero, "zero-steps": zeroSteps } = values;
  if (!zero && zeroSteps !== undefined) throw new ConfigError("--zero-steps needs --cfg-zero");
  const options: GuidanceOptions = {
    guidance: values.guidance,
    unconditional: values.unconditional as Unconditional | undefined,
    guidanceMode: values["guidance-mode"] as GuidanceMode | undefined,
    dynamicGuidance: values["dynamic-cfg"],
    guidanceInterval: parseInterval(values["guidance-interval"]),
    guidanceRescale: values["guidance-rescale"],
    projectedGuidance: apg ? { eta, momentum, threshold } : undefined,
    zeroStar: zero ? { zeroSteps } : undefined,
  };
  guidanceOf({ ...options, negativePrompt: values.negative });
  return options;
}

function parseInterval(text: string | undefined): readonly [number, number] | undefined {
  if (text === undefined) return undefined;
  const numbers = text.split(",").map(Number);
  if (numbers.length === 2 && numbers.every(Number.isFinite)) return [numbers[0], numbers[1]];
  throw new ConfigError(`--guidance-interval must be two shares of the run such as 0.1,0.8, got "${text}"`);
}

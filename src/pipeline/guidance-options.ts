/** @file The options of a run that say how strongly it follows its prompt. */
import {
  checkedGuidance,
  type Guidance,
  type GuidanceMode,
  isGuided,
  type ProjectedGuidance,
  type ZeroStarGuidance,
} from "../diffusion/guidance.ts";
import { ConfigError } from "../errors.ts";

/** Every `Unconditional`. */
export const unconditionals = ["prompt", "zeros"] as const;
/**
 * What stands in for the prompt in the prediction that guidance leads away from: the negative prompt, which is "" unless
 * given, as in diffusers ("prompt"); or states that are all zeros, as in SAT, whose training drops captions so ("zeros").
 */
export type Unconditional = (typeof unconditionals)[number];

/** Guidance as it is asked for; the reference's plain guidance where nothing is. */
export type GuidanceOptions = {
  /** Guidance scale; what the checkpoint says unless given, or 6; 1 or less switches guidance off. */
  readonly guidance?: number;
  /** "prompt" unless given. */
  readonly unconditional?: Unconditional;
  /** How the weight goes over the run; "constant" unless given. */
  readonly guidanceMode?: GuidanceMode;
  /** Short for the mode "wave": the weight follows the timestep, as in the official demo with "dpm". */
  readonly dynamicGuidance?: boolean;
  /** Shares of the run, 0 to 1, between which there is guidance; steps outside take half the time. */
  readonly guidanceInterval?: readonly [from: number, to: number];
  /** How far the spread of the prediction is pulled back to that with the prompt alone, 0 to 1; 0 unless given. */
  readonly guidanceRescale?: number;
  /** Adaptive projected guidance: high scales without burnt colours. */
  readonly projectedGuidance?: ProjectedGuidance;
  /** CFG-Zero*: scales the prediction without the prompt, and stands still in the first steps. */
  readonly zeroStar?: ZeroStarGuidance;
};

/** The reference's scale. */
const GUIDANCE = 6;

/** The scale of a model where none is asked for. */
type OwnGuidance = { readonly guidance?: number };

/** What the options say, with what guidance leads away from. */
type Asked = GuidanceOptions & { readonly negativePrompt?: string };

/** Guidance as options ask for it of a model. @throws ConfigError for guidance that cannot be */
export function guidanceOf(options: Asked, own: OwnGuidance = {}): Guidance {
  const { guidance: scale = own.guidance ?? GUIDANCE, guidanceMode, dynamicGuidance } = options;
  const { unconditional, negativePrompt } = options;
  if (unconditional !== undefined && !unconditionals.includes(unconditional))
    throw new ConfigError(`unconditional must be one of ${unconditionals.join(", ")}, got ${unconditional}`);
  if (unconditional === "zeros" && negativePrompt)
    throw new ConfigError(
      `guidance away from zeros (--unconditional zeros) has no negative prompt, got ${JSON.stringify(negativePrompt)}; ` +
        "leave one of them out",
    );
  if (dynamicGuidance && guidanceMode !== undefined && guidanceMode !== "wave")
    throw new ConfigError(
      `dynamic guidance (--dynamic-cfg) is the mode wave, but the mode ${guidanceMode} is given`,
    );
  return checkedGuidance({
    scale,
    mode: guidanceMode ?? (dynamicGuidance ? "wave" : "constant"),
    interval: options.guidanceInterval,
    rescale: options.guidanceRescale,
    projected: options.projectedGuidance,
    zeroStar: options.zeroStar,
  });
}

/** Whether guidance leads away from the hidden states of a text, and not from zeros or not at all. @throws ConfigError */
export function needsNegative(options: Asked, own: OwnGuidance): boolean {
  return isGuided(guidanceOf(options, own)) && options.unconditional !== "zeros";
}

/** What a recipe says of guidance: what was asked for beyond the reference's. */
export function guidanceRecipe(
  options: GuidanceOptions,
  own: OwnGuidance,
): Readonly<Record<string, unknown>> {
  const { guidance = own.guidance ?? GUIDANCE, dynamicGuidance = false, unconditional } = options;
  const { guidanceMode, guidanceInterval, guidanceRescale, projectedGuidance, zeroStar } = options;
  const extra = {
    unconditional,
    guidanceMode,
    guidanceInterval,
    guidanceRescale,
    projectedGuidance,
    zeroStar,
  };
  const given = Object.entries(extra).filter(([, value]) => value !== undefined);
  return { guidance, dynamicGuidance, ...Object.fromEntries(given) };
}

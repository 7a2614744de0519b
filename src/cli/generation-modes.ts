/** @file Options that say what a clip is made from besides its prompt, and the mode that follows from them. */
import { ConfigError } from "../errors.ts";
import { type Fit, fits } from "../media/fit.ts";
import { controlToVideo } from "../pipeline/control-to-video.ts";
import type { PipelineEvent } from "../pipeline/events.ts";
import type { GenerateOptions } from "../pipeline/generate-options.ts";
import { type ImageScaling, imageScalings, imageToVideo } from "../pipeline/image-to-video.ts";
import { inpaintVideo } from "../pipeline/inpaint-video.ts";
import { invertVideo } from "../pipeline/invert-video.ts";
import { chainVideo } from "../pipeline/long-video/chain-video.ts";
import { kindsOf } from "../pipeline/mode.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import { textToVideo } from "../pipeline/text-to-video.ts";
import { videoToVideo } from "../pipeline/video-to-video.ts";
import type { OptionTable, OptionValues } from "./options.ts";

/** What a clip can be made from; at most one mode's options may be given. */
export const sourceOptions = {
  image: { kind: "text", value: "FILE", about: "begin with this picture (image-to-video checkpoints)" },
  "image-scaling": {
    kind: "text",
    choices: imageScalings,
    about: "how image latents are scaled (the checkpoint's own way)",
  },
  chain: {
    kind: "integer",
    about: "with --image, clips in a row, each from the last frame of the one before",
  },
  video: { kind: "text", value: "FILE|DIR", about: "make this video, or folder of frames, anew" },
  strength: { kind: "number", about: "with --video, share of the steps to do (0.8); lower stays closer" },
  control: { kind: "text", value: "FILE|DIR", about: "follow this control video (Fun control checkpoints)" },
  "start-image": { kind: "text", value: "FILE", about: "first picture (Fun inpainting checkpoints)" },
  "end-image": { kind: "text", value: "FILE", about: "last picture (Fun inpainting checkpoints)" },
  "image-noise": { kind: "number", about: "noise on start and end image, 0 for none (as trained)" },
  invert: {
    kind: "text",
    value: "FILE|DIR",
    about: "find this video's noise, then make it anew beside itself",
  },
  "save-inverted": { kind: "text", value: "FILE", about: "with --invert, write the noise that was found" },
  fit: {
    kind: "text",
    choices: fits,
    about: "how pictures of another shape are brought to the clip's (crop)",
  },
} as const satisfies OptionTable;

type Values = OptionValues<typeof sourceOptions>;

type ModeOf = (pipeline: Pipeline, request: GenerateOptions, values: Values) => AsyncGenerator<PipelineEvent>;

const inpaint: ModeOf = (pipeline, request, values) =>
  inpaintVideo(pipeline, {
    ...request,
    startImage: values["start-image"],
    endImage: values["end-image"],
    imageNoise: values["image-noise"],
    fit: values.fit as Fit | undefined,
  });

/** Modes by the option that calls for them. */
const modes: { readonly [name: string]: ModeOf } = {
  image: (pipeline, request, values) => {
    const options = {
      ...request,
      image: values.image!,
      imageScaling: values["image-scaling"] as ImageScaling | undefined,
      fit: values.fit as Fit | undefined,
    };
    const { chain: clips } = values;
    return clips === undefined
      ? imageToVideo(pipeline, options)
      : chainVideo(pipeline, { ...options, clips });
  },
  video: (pipeline, request, { video, strength, fit }) =>
    videoToVideo(pipeline, { ...request, video: video!, strength, fit: fit as Fit | undefined }),
  control: (pipeline, request, { control, fit }) =>
    controlToVideo(pipeline, { ...request, control: control!, fit: fit as Fit | undefined }),
  "start-image": inpaint,
  "end-image": inpaint,
  invert: (pipeline, request, { invert, fit }) =>
    invertVideo(pipeline, { ...request, video: invert!, fit: fit as Fit | undefined }),
};

/** Options that mean nothing without another one. */
const companions: { readonly [name: string]: readonly string[] } = {
  "image-scaling": ["image"],
  chain: ["image"],
  strength: ["video"],
  "image-noise": ["start-image", "end-image"],
  "save-inverted": ["invert"],
  fit: Object.keys(modes),
};

/** The events of the mode that the options ask for; text to video where they name no source. */
export function eventsOf(
  pipeline: Pipeline,
  request: GenerateOptions,
  values: Values,
): AsyncGenerator<PipelineEvent> {
  const mode = checkedMode(values, request) ?? modeWithoutSource(pipeline, request);
  return mode(pipeline, request, values);
}

/**
 * The mode that the options name, null where they name no source.
 * @throws ConfigError for options of two modes, or one that lacks its companion
 */
export function checkedMode(values: Values, { steps }: { readonly steps?: number }): ModeOf | null {
  const given = Object.keys(sourceOptions).filter((name) => values[name as keyof Values] !== undefined);
  for (const name of given)
    if (companions[name] && !companions[name].some((other) => given.includes(other)))
      throw new ConfigError(`--${name} needs ${companions[name].map((other) => `--${other}`).join(" or ")}`);
  const called = new Set(given.map((name) => modes[name]).filter((mode) => mode !== undefined));
  if (called.size > 1) {
    const names = given.filter((name) => name in modes).map((name) => `--${name}`);
    throw new ConfigError(`${names.join(" and ")} ask for different modes; give one of them`);
  }
  if (called.size === 1 && steps === 0)
    throw new ConfigError(
      "--steps 0 only decodes --latents; leave the pictures out, or give 1 to 1000 steps",
    );
  return [...called][0] ?? null;
}

/** A prompt alone does for inpainting checkpoints too: then all of the clip is unknown. */
function modeWithoutSource({ checkpoint }: Pipeline, { steps }: GenerateOptions): ModeOf {
  return steps !== 0 && kindsOf(checkpoint).includes("inpaint") ? inpaint : textToVideo;
}

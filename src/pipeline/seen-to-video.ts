/** @file A clip from its prompt and what else its model sees, where that is told by its kind. */
import type { RgbImage } from "../media/frames.ts";
import { controlToVideo } from "./control-to-video.ts";
import type { PipelineEvent } from "./events.ts";
import { imageToVideo } from "./image-to-video.ts";
import { inpaintVideo } from "./inpaint-video.ts";
import type { Pipeline } from "./pipeline.ts";
import { type TextToVideoOptions, textToVideo } from "./text-to-video.ts";

/** What a model sees beside the prompt: a first frame, both ends, or a control video. */
export type Seen =
  | { readonly kind: "image"; readonly image: RgbImage }
  | { readonly kind: "inpaint"; readonly start: RgbImage; readonly end: RgbImage }
  | { readonly kind: "control"; readonly frames: readonly RgbImage[] };

/** The mode that shows the model these pictures; text to video without any. */
export function seenToVideo(
  pipeline: Pipeline,
  options: TextToVideoOptions,
  seen?: Seen,
): AsyncGenerator<PipelineEvent> {
  switch (seen?.kind) {
    case undefined:
      return textToVideo(pipeline, options);
    case "image":
      return imageToVideo(pipeline, { ...options, image: seen.image });
    case "inpaint":
      return inpaintVideo(pipeline, { ...options, startImage: seen.start, endImage: seen.end });
    case "control":
      return controlToVideo(pipeline, { ...options, control: seen.frames });
  }
}

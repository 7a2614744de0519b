/** @file A clip from a prompt as 8-bit pixels, for scripts that look at what a model makes. */
import type { RgbImage } from "../src/media/frames.ts";
import { controlToVideo } from "../src/pipeline/control-to-video.ts";
import type { PipelineEvent } from "../src/pipeline/events.ts";
import { imageToVideo } from "../src/pipeline/image-to-video.ts";
import { inpaintVideo } from "../src/pipeline/inpaint-video.ts";
import type { Pipeline } from "../src/pipeline/pipeline.ts";
import { type TextToVideoOptions, textToVideo } from "../src/pipeline/text-to-video.ts";

export type GeneratedClip = {
  /** `[T, H, W, 3]` */
  readonly rgb: Uint8Array;
  readonly size: { readonly width: number; readonly height: number; readonly frames: number };
};

/** What to make, from what the model sees beside the prompt: a first frame, both ends, or a control video. */
export type ClipRequest = TextToVideoOptions & {
  readonly image?: RgbImage;
  readonly ends?: { readonly start: RgbImage; readonly end: RgbImage };
  readonly control?: readonly RgbImage[];
};

export async function generatedClip(pipeline: Pipeline, request: ClipRequest): Promise<GeneratedClip> {
  const parts: Uint8Array[] = [];
  let size = { width: 0, height: 0 };
  for await (const event of eventsOf(pipeline, request)) {
    if (event.kind === "started") size = event;
    if (event.kind === "frames")
      parts.push(Uint8Array.from(event.frames.data as Float32Array, (value) => Math.round(255 * value)));
  }
  const rgb = Uint8Array.from(Buffer.concat(parts));
  const { width, height } = size;
  return { rgb, size: { width, height, frames: rgb.length / (3 * width * height) } };
}

function eventsOf(
  pipeline: Pipeline,
  { image, ends, control, ...options }: ClipRequest,
): AsyncGenerator<PipelineEvent> {
  if (image !== undefined) return imageToVideo(pipeline, { ...options, image });
  if (ends !== undefined)
    return inpaintVideo(pipeline, { ...options, startImage: ends.start, endImage: ends.end });
  if (control !== undefined) return controlToVideo(pipeline, { ...options, control });
  return textToVideo(pipeline, options);
}

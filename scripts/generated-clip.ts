/** @file A clip from a prompt as 8-bit pixels, for scripts that look at what a model makes. */
import type { Pipeline } from "../src/pipeline/pipeline.ts";
import { type Seen, seenToVideo } from "../src/pipeline/seen-to-video.ts";
import type { TextToVideoOptions } from "../src/pipeline/text-to-video.ts";

export type GeneratedClip = {
  /** `[T, H, W, 3]` */
  readonly rgb: Uint8Array;
  readonly size: { readonly width: number; readonly height: number; readonly frames: number };
};

export async function generatedClip(
  pipeline: Pipeline,
  options: TextToVideoOptions,
  seen?: Seen,
): Promise<GeneratedClip> {
  const parts: Uint8Array[] = [];
  let size = { width: 0, height: 0 };
  for await (const event of seenToVideo(pipeline, options, seen)) {
    if (event.kind === "started") size = event;
    if (event.kind === "frames")
      parts.push(Uint8Array.from(event.frames.data as Float32Array, (value) => Math.round(255 * value)));
  }
  const rgb = Uint8Array.from(Buffer.concat(parts));
  const { width, height } = size;
  return { rgb, size: { width, height, frames: rgb.length / (3 * width * height) } };
}

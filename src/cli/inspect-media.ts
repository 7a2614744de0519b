/** @file What a video, an animation or a folder of frames is, and the recipe inside. */
import { probeVideo } from "../media/read.ts";
import { readRecipe } from "../media/recipe.ts";

/** A clip without its pixels. */
export type MediaReport = {
  readonly kind: "video";
  readonly file: string;
  /** Pixels */
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  readonly fps: number;
  readonly seconds: number;
  readonly codec: string;
  /** What the clip was made with, as it was embedded; null where nothing was. */
  readonly recipe: unknown;
};

/** @throws ConfigError for a file that is missing or no video */
export async function inspectMedia(file: string): Promise<MediaReport> {
  const { width, height, frames, fps, durationSeconds, codec } = await probeVideo(file);
  const recipe = await readRecipe(file);
  return { kind: "video", file, width, height, frames, fps, seconds: durationSeconds, codec, recipe };
}

export function describeMedia(report: MediaReport): string[] {
  const { file, width, height, frames, fps, seconds, codec, recipe } = report;
  const rate = Number(fps.toFixed(3));
  return [
    `${file}: ${width}x${height}, ${frames} frames at ${rate} fps (${seconds.toFixed(2)} s), ${codec}`,
    ...(recipe === null ? ["no recipe inside"] : ["recipe:", ...describeRecipe(recipe)]),
  ];
}

function describeRecipe(recipe: unknown): string[] {
  return Object.entries(recipe as Record<string, unknown>).map(
    ([key, value]) => `  ${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
}

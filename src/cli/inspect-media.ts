/** @file What a video, an animation or a folder of frames is, and the recipe inside. */
import { AI_GENERATED, readDigitalSourceType } from "../media/provenance.ts";
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
  /** Where the clip says it comes from, as an IPTC digital source type; null where it says nothing. */
  readonly digitalSourceType: string | null;
};

/** @throws ConfigError for a file that is missing or no video */
export async function inspectMedia(file: string): Promise<MediaReport> {
  const { width, height, frames, fps, durationSeconds, codec } = await probeVideo(file);
  const recipe = await readRecipe(file);
  const digitalSourceType = await readDigitalSourceType(file);
  const clip = { kind: "video", file, width, height, frames, fps, seconds: durationSeconds, codec } as const;
  return { ...clip, recipe, digitalSourceType };
}

/** The report in lines for people. */
export function describeMedia(report: MediaReport): string[] {
  const { file, width, height, frames, fps, seconds, codec, recipe, digitalSourceType } = report;
  const rate = Number(fps.toFixed(3));
  return [
    `${file}: ${width}x${height}, ${frames} frames at ${rate} fps (${seconds.toFixed(2)} s), ${codec}`,
    ...(digitalSourceType === null ? [] : [describeSource(digitalSourceType)]),
    ...(recipe === null ? ["no recipe inside"] : ["recipe:", ...describeRecipe(recipe)]),
  ];
}

function describeSource(uri: string): string {
  return uri === AI_GENERATED ? `made by a trained model (${uri})` : `digital source type: ${uri}`;
}

function describeRecipe(recipe: unknown): string[] {
  return Object.entries(recipe as Record<string, unknown>).map(
    ([key, value]) => `  ${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
}

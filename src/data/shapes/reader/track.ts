/** @file Follows objects through the frames: one blob per frame, the largest near the place where it was. */
import type { ShapesClip } from "../render.ts";
import type { Colour } from "../vocabulary.ts";
import type { Blob } from "./segment.ts";

/** One object through a clip; frames in which it is not seen are left out. */
export interface Track {
  readonly colour: Colour;
  readonly blobs: readonly Blob[];
  /** Mean area in pixels. */
  readonly area: number;
}

/** What is seen in fewer of the frames, or is smaller on average than this share of the scene's square, is no object. */
const PRESENCE = 0.7;
const LEAST_AREA = 0.01;
/** An object beside a larger one has at least this share of its area. */
const LEAST_SHARE = 0.12;

/** The objects of a clip, largest first. */
export function followBlobs(blobs: ReadonlyMap<Colour, readonly Blob[]>, clip: ShapesClip): Track[] {
  const tracks: Track[] = [];
  for (const [colour, all] of blobs) {
    let rest = [...all];
    for (;;) {
      const chosen = follow(rest, clip);
      if (chosen.length < PRESENCE * clip.frames) break;
      tracks.push({ colour, blobs: chosen, area: mean(chosen.map(({ area }) => area)) });
      rest = rest.filter((blob) => !chosen.includes(blob));
    }
  }
  tracks.sort((a, b) => b.area - a.area);
  const least = Math.max(
    LEAST_AREA * Math.min(clip.width, clip.height) ** 2,
    LEAST_SHARE * (tracks[0]?.area ?? 0),
  );
  return tracks.filter(({ area }) => area >= least);
}

/** The best blob of every frame: large, and close to the one before. */
function follow(blobs: readonly Blob[], { width, height, frames }: ShapesClip): Blob[] {
  const chosen: Blob[] = [];
  const side = Math.min(width, height);
  for (let frame = 0; frame < frames; frame++) {
    const last = chosen.at(-1);
    const worth = (blob: Blob) =>
      last === undefined
        ? blob.area
        : blob.area * Math.exp((-6 * Math.hypot(blob.x - last.x, blob.y - last.y)) / side);
    const here = blobs.filter((blob) => blob.frame === frame).sort((a, b) => worth(b) - worth(a));
    if (here.length > 0) chosen.push(here[0]);
  }
  return chosen;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** @file The exact reader: says from pixels alone what a clip of shapes shows. */
import { ShapeError } from "../../../errors.ts";
import type { ShapesClip } from "../render.ts";
import type { Background } from "../scene.ts";
import { type Camera, type Colour, type Motion, type Shape, type Size, sizes } from "../vocabulary.ts";
import { fitBackground } from "./background-fit.ts";
import { motionOf, pathOf } from "./motion-fit.ts";
import { findBlobs } from "./segment.ts";
import { fitShape } from "./shape-fit.ts";
import { followBlobs, mean } from "./track.ts";

/** One object as read; shape, size and motion are null where its outline is none of the shapes. */
export interface ReadObject {
  readonly colour: Colour;
  readonly shape: Shape | null;
  readonly size: Size | null;
  readonly motion: Motion | null;
}

/** What a clip shows. Noise has no objects, and no background. */
export interface Reading {
  /** Largest first. */
  readonly objects: readonly ReadObject[];
  readonly background: Background | null;
  readonly camera: Camera;
}

/**
 * Reads an RGB clip `[frames, height, width, 3]`: segments by colour, follows each object, fits every shape to its
 * outline, and names its motion after the camera's is taken out. Blur and noise of a few levels do not disturb it.
 * Throws ShapeError where the bytes are not those of the clip's size.
 */
export function readClip(rgb: Uint8Array, clip: ShapesClip): Reading {
  const { width, height, frames } = clip;
  if (rgb.length !== frames * height * width * 3)
    throw new ShapeError(
      `a clip of ${frames} frames of ${width}x${height} has ${frames * height * width * 3} bytes; got ${rgb.length}`,
    );
  const tracks = followBlobs(findBlobs(rgb, clip), clip);
  const { background, camera } = fitBackground(rgb, clip, tracks);
  const objects = tracks.map((track): ReadObject => {
    const { colour } = track;
    const fit = fitShape(track, clip);
    if (fit === null) return { colour, shape: null, size: null, motion: null };
    const path = pathOf(track, fit, camera, clip);
    return { colour, shape: fit.shape, size: sizeOf(mean(path.radius)), motion: motionOf(path, fit) };
  });
  return { objects, background, camera };
}

function sizeOf(radius: number): Size {
  return radius < (sizes.small[1] + sizes.large[0]) / 2 ? "small" : "large";
}

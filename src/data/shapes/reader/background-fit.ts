/** @file Reads the background and the camera: draws every pattern under every camera and keeps what explains most. */
import { drawBackground } from "../background.ts";
import type { ShapesClip } from "../render.ts";
import { type Background, cameraAt, type View } from "../scene.ts";
import {
  type Camera,
  cameras,
  type Pattern,
  type Rgb,
  type Tone,
  textures,
  toneNames,
  tones,
} from "../vocabulary.ts";
import type { Track } from "./track.ts";

export interface BackgroundFit {
  /** Null where what lies behind the objects is none of the backgrounds. */
  readonly background: Background | null;
  readonly camera: Camera;
}

/** A pattern must explain this share of the differences in light, or the background counts as plain. */
const LEAST_EXPLAINED = 0.3;
/** Light may differ by this much (standard deviation, 0..255) beyond what the pattern explains, and colour from a tone. */
const MOST_UNEXPLAINED = 24;
const MOST_OFF_TONE = 60;
/** How far around an object its shadow may lie, in radii of a disc of its area. */
const SHADOWED = 1.9;
/** Frames with less of the background than this share are not looked at. */
const LEAST_VISIBLE = 0.02;

/** Reads background and camera from the pixels away from the objects. */
export function fitBackground(rgb: Uint8Array, clip: ShapesClip, tracks: readonly Track[]): BackgroundFit {
  const least = LEAST_VISIBLE * clip.width * clip.height;
  const samples = spread(clip.frames)
    .map((frame) => sampleOf(rgb, clip, tracks, frame))
    .filter(({ places }) => places.length > least);
  if (samples.length === 0) return { background: null, camera: "still" };
  const fits = hypotheses(clip.frames).map(([pattern, camera]) => ({
    pattern,
    camera,
    ...explain(samples, pattern, camera, clip),
  }));
  fits.sort((a, b) => b.explained - a.explained);
  const best =
    fits[0].explained > LEAST_EXPLAINED ? fits[0] : fits.filter(({ pattern }) => pattern === "plain")[0];
  const tone = nearestTone(best.base);
  const known = tone !== null && best.unexplained < MOST_UNEXPLAINED;
  return {
    background: known ? { tone, pattern: best.pattern } : null,
    camera: known ? best.camera : "still",
  };
}

function hypotheses(frames: number): (readonly [Pattern, Camera])[] {
  const seen = frames === 1 ? cameras.slice(0, 1) : cameras;
  return [
    ["plain", "still"],
    ["gradient", "still"],
    ...textures.flatMap((pattern) => seen.map((camera) => [pattern, camera] as const)),
  ];
}

/** At most five frames, from the first to the last. */
function spread(frames: number): number[] {
  const count = Math.min(frames, 5);
  return Array.from({ length: count }, (_, i) => Math.round((i * (frames - 1)) / Math.max(1, count - 1)));
}

/** The background's pixels of one frame: places, brightness, and mean colour. */
interface Sample {
  readonly t: number;
  readonly places: Int32Array;
  readonly light: Float32Array;
  readonly colour: Rgb;
}

function sampleOf(rgb: Uint8Array, clip: ShapesClip, tracks: readonly Track[], frame: number): Sample {
  const { width, height, frames } = clip;
  const blobs = tracks.flatMap((track) => track.blobs.filter((blob) => blob.frame === frame));
  const places = Int32Array.from({ length: width * height }, (_, at) => at).filter((at) => {
    const [x, y] = [(at % width) + 0.5, Math.floor(at / width) + 0.5];
    return !blobs.some((blob) => (x - blob.x) ** 2 + (y - blob.y) ** 2 < (SHADOWED ** 2 * blob.area) / 2);
  });
  const light = new Float32Array(places.length);
  const colour: [number, number, number] = [0, 0, 0];
  places.forEach((place, i) => {
    const at = 3 * (frame * width * height + place);
    for (let c = 0; c < 3; c++) {
      light[i] += rgb[at + c] / 3;
      colour[c] += rgb[at + c] / places.length;
    }
  });
  return { t: frames === 1 ? 0 : frame / (frames - 1), places, light, colour };
}

interface Explained {
  /** Squared correlation of the light with the pattern, all frames together. */
  readonly explained: number;
  /** Standard deviation of what the pattern leaves. */
  readonly unexplained: number;
  /** The colour where the pattern is absent. */
  readonly base: Rgb;
}

function explain(samples: readonly Sample[], pattern: Pattern, camera: Camera, clip: ShapesClip): Explained {
  let [count, sumP, sumL, sumPP, sumPL, sumLL] = [0, 0, 0, 0, 0, 0];
  const colour = [0, 0, 0];
  for (const { t, places, light, colour: mean } of samples) {
    const drawn = drawnPattern(pattern, cameraAt(camera, t), clip);
    count += places.length;
    places.forEach((at, i) => {
      const [p, l] = [drawn[at], light[i]];
      sumP += p;
      sumL += l;
      sumPP += p * p;
      sumPL += p * l;
      sumLL += l * l;
    });
    mean.forEach((value, c) => {
      colour[c] += value * places.length;
    });
  }
  const variance = sumLL / count - (sumL / count) ** 2;
  const spreadP = sumPP / count - (sumP / count) ** 2;
  const shared = sumPL / count - (sumL * sumP) / count ** 2;
  const explained = spreadP > 0 && variance > 0 ? shared ** 2 / (spreadP * variance) : 0;
  const slope = spreadP > 0 ? shared / spreadP : 0;
  const [red, green, blue] = colour.map((sum) => (sum - slope * sumP) / count);
  return {
    explained,
    unexplained: Math.sqrt(Math.max(0, variance * (1 - explained))),
    base: [red, green, blue],
  };
}

/** Patterns as drawn, for the clips of one size that are read after each other. */
const bank = new Map<string, Uint8Array>();
const MOST_IN_BANK = 128;

/** How much the pattern lightens black at every pixel. */
function drawnPattern(pattern: Pattern, view: View, { width, height }: ShapesClip): Uint8Array {
  const key = [pattern, view.shift, view.zoom, width, height].join(" ");
  let drawn = bank.get(key);
  if (drawn === undefined) {
    const rgb = drawBackground({ tone: "black", pattern }, view, { width, height });
    drawn = Uint8Array.from({ length: width * height }, (_, at) => rgb[3 * at] - tones.black[0]);
    if (bank.size >= MOST_IN_BANK) bank.clear();
    bank.set(key, drawn);
  }
  return drawn;
}

function nearestTone(colour: Rgb): Tone | null {
  const distance = (tone: Tone) => Math.hypot(...tones[tone].map((value, c) => value - colour[c]));
  const [nearest] = [...toneNames].sort((a, b) => distance(a) - distance(b));
  return distance(nearest) < MOST_OFF_TONE ? nearest : null;
}

/** @file Compares what a clip shows with what was asked for. */
import type { Scene, SceneObject } from "../scene.ts";
import type { Reading, ReadObject } from "./read.ts";

/** What is right; of colour, shape, motion and size, for all objects that were asked for. */
export interface Verdict {
  readonly colour: boolean;
  readonly shape: boolean;
  readonly motion: boolean;
  readonly size: boolean;
  readonly background: boolean;
  readonly camera: boolean;
  /** Colour, shape and motion of all objects, and no object too many. */
  readonly everything: boolean;
}

const traits = ["colour", "shape", "motion", "size"] as const;
type Trait = (typeof traits)[number];

/** Judges a reading; objects are matched in the order that agrees best. */
export function judge(reading: Reading, scene: Scene): Verdict {
  const orders = matchings(reading.objects, scene.objects);
  const agreement = (order: readonly ReadObject[]) =>
    traits
      .flatMap((trait) => order.map((object, i) => object[trait] === scene.objects[i][trait]))
      .filter(Boolean).length;
  const best = orders.reduce((a, b) => (agreement(b) > agreement(a) ? b : a), [] as readonly ReadObject[]);
  const right = (trait: Trait) => scene.objects.every((object, i) => best[i]?.[trait] === object[trait]);
  const [colour, shape, motion, size] = traits.map(right);
  const { background, camera } = reading;
  return {
    colour,
    shape,
    motion,
    size,
    background: background?.tone === scene.background.tone && background.pattern === scene.background.pattern,
    camera: camera === scene.camera,
    everything: colour && shape && motion && reading.objects.length === scene.objects.length,
  };
}

/** All ways to give each object that was asked for one of those read, while there are any. */
function matchings(
  read: readonly ReadObject[],
  asked: readonly SceneObject[],
): readonly (readonly ReadObject[])[] {
  if (read.length === 0 || asked.length === 0) return [[]];
  return read.flatMap((object) =>
    matchings(
      read.filter((other) => other !== object),
      asked.slice(1),
    ).map((rest) => [object, ...rest]),
  );
}

/** @file Scenes of a data set by their number, where it takes only some of those that are drawn. */
import { type DrawOptions, drawScene, type Scene } from "./scene.ts";
import type { Size, Tone } from "./vocabulary.ts";

export type SceneListOptions = Omit<DrawOptions, "index"> & {
  /** Sizes that all objects of a scene must be of; a draw with another is passed over. All unless given. */
  readonly sizes?: readonly Size[];
  /** Backgrounds that a scene may have, likewise. */
  readonly tones?: readonly Tone[];
};

/** A scene and the index that it was drawn at. */
export type ListedScene = { readonly scene: Scene; readonly drawn: number };

/** The scenes that are taken, from 0 on: a pure function of the options, which remembers where it has looked. */
export function sceneList({ sizes, tones, ...options }: SceneListOptions): (index: number) => ListedScene {
  const at = (index: number) => drawScene({ ...options, index });
  if (sizes === undefined && tones === undefined) return (index) => ({ scene: at(index), drawn: index });
  const isTaken = ({ objects, background }: Scene) =>
    objects.every(({ size }) => sizes?.includes(size) ?? true) && (tones?.includes(background.tone) ?? true);
  const taken: number[] = [];
  let next = 0;
  return (index) => {
    for (; taken.length <= index; next++) if (isTaken(at(next))) taken.push(next);
    return { scene: at(taken[index]), drawn: taken[index] };
  };
}

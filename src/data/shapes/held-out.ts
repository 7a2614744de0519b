/** @file Which combinations of colour, shape and motion no training clip ever shows. */
import { type Colour, canSpin, colourNames, type Motion, motions, type Shape, shapes } from "./vocabulary.ts";

/** What the held-out rule looks at. */
export interface Composition {
  readonly colour: Colour;
  readonly shape: Shape;
  readonly motion: Motion;
}

/**
 * Whether this combination is kept from training: one in eight. With the eight colours, six shapes and nine motions
 * numbered in their order, those with colour + 3 shape + 5 motion = 3 modulo 8. All factors are odd, so that of every
 * pair (two of the three given) at most two combinations are held out and at least five remain for training.
 */
export function isHeldOut({ colour, shape, motion }: Composition): boolean {
  const sum = colourNames.indexOf(colour) + 3 * shapes.indexOf(shape) + 5 * motions.indexOf(motion);
  return sum % 8 === 3;
}

/** Every combination that can be drawn, in a fixed order: 416, as circles and rings do not spin. */
export const compositions: readonly Composition[] = colourNames.flatMap((colour) =>
  shapes.flatMap((shape) =>
    motions
      .filter((motion) => motion !== "spins" || canSpin(shape))
      .map((motion) => ({ colour, shape, motion })),
  ),
);

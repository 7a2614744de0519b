/** @file The words of the shapes data set and what they look like: colours, shapes, sizes, motions, backgrounds. */

/** Three channels in 0..255. */
export type Rgb = readonly [number, number, number];

/**
 * Object colours, saturated and far from each other and from every background in the plane of colour differences
 * (red minus green, blue minus green), which shadows and lighting leave alone.
 */
export const colours = {
  red: [225, 40, 45],
  orange: [245, 130, 25],
  yellow: [250, 215, 30],
  green: [45, 175, 75],
  cyan: [30, 200, 225],
  blue: [45, 90, 235],
  purple: [140, 50, 200],
  pink: [245, 105, 185],
} as const satisfies Record<string, Rgb>;

export type Colour = keyof typeof colours;
export const colourNames = Object.keys(colours) as readonly Colour[];

export const shapes = ["circle", "square", "triangle", "star", "cross", "ring"] as const;
export type Shape = (typeof shapes)[number];

/** The mean radius of an object over the clip, from and to, as a share of the clip's shorter side. */
export const sizes = { small: [0.125, 0.14], large: [0.19, 0.215] } as const;
export type Size = keyof typeof sizes;
export const sizeNames = Object.keys(sizes) as readonly Size[];

export const motions = [
  "left",
  "right",
  "up",
  "down",
  "still",
  "grows",
  "shrinks",
  "spins",
  "bounces",
] as const;
export type Motion = (typeof motions)[number];

/** Whether one can see that this shape spins. */
export function canSpin(shape: Shape): boolean {
  return shape !== "circle" && shape !== "ring";
}

/** Background colours, all of them pale or dark. */
export const tones = {
  black: [16, 16, 18],
  grey: [118, 120, 124],
  white: [238, 238, 236],
  "dark blue": [22, 32, 72],
  beige: [226, 208, 178],
} as const satisfies Record<string, Rgb>;

export type Tone = keyof typeof tones;
export const toneNames = Object.keys(tones) as readonly Tone[];

export const patterns = ["plain", "gradient", "grid", "stripes", "dots"] as const;
export type Pattern = (typeof patterns)[number];
/** Patterns on which a moving camera shows. */
export const textures = ["grid", "stripes", "dots"] as const satisfies readonly Pattern[];

export const cameras = ["still", "pan left", "pan right", "zoom in"] as const;
export type Camera = (typeof cameras)[number];

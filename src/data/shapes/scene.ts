/** @file What a clip shows, drawn from a seed and an index, and where everything is at each moment. */
import { ConfigError } from "../../errors.ts";
import { type Composition, compositions, isHeldOut } from "./held-out.ts";
import { type RandomSource, randomSource } from "./random.ts";
import {
  type Camera,
  cameras,
  type Motion,
  type Pattern,
  patterns,
  type Size,
  sizeNames,
  sizes,
  type Tone,
  textures,
  toneNames,
} from "./vocabulary.ts";

/**
 * One object. Places and lengths are shares of the clip's shorter side: the scene is the square (0, 0) to (1, 1) in the
 * middle of the frame, y downwards. They are those of the world, which the camera moves over.
 */
export interface SceneObject extends Composition {
  readonly size: Size;
  /** The middle of its path; for one that bounces, the middle between floor and top. */
  readonly x: number;
  readonly y: number;
  /** Mean radius over the clip. */
  readonly radius: number;
  /** The length of its path, the height of its bounces, 0 for an object that stays in its place. */
  readonly travel: number;
  /** How far it turns over the clip, in radians, clockwise where positive; 0 unless it spins. */
  readonly turn: number;
}

export interface Background {
  readonly tone: Tone;
  readonly pattern: Pattern;
}

/** What a clip shows. Plain data, so that it can be written as JSON. */
export interface Scene {
  /** One or two; two have different colours and shapes and never touch. */
  readonly objects: readonly SceneObject[];
  readonly background: Background;
  /** Moves only over a texture and with a single object. */
  readonly camera: Camera;
}

export type Split = "train" | "held-out" | "all";

export interface DrawOptions {
  readonly seed: number;
  readonly index: number;
  /** "train" has no held-out composition, "held-out" has one as its first object. Default "train". */
  readonly split?: Split;
  /** Probability of a second object. Default 0.2. */
  readonly twoObjects?: number;
  /** Probability that the camera moves, among scenes of one object. Default 0.1. */
  readonly camera?: number;
  /** Probability that the background is more than plain. Default 0.5. */
  readonly patterned?: number;
  /**
   * Parts a side is cut into by the lines that objects are placed on; every size then has one radius, every motion one
   * length and every spin one direction. Anywhere, with radii, lengths and turns drawn, unless given.
   */
  readonly grid?: number;
  /** How often motions are drawn beside one another, in whole numbers; 1 for each that is not named. */
  readonly motions?: Partial<Record<Motion, number>>;
}

/** Draws the scene of (seed, index): a pure function of its options. */
export function drawScene(options: DrawOptions): Scene {
  const { split = "train", twoObjects = 0.2, camera: moving = 0.1, patterned = 0.5 } = options;
  checkOptions(options);
  const { grid } = options;
  const random = randomSource(options.seed, options.index, 1);
  const first = drawComposition(
    random,
    (each) => split === "all" || isHeldOut(each) === (split === "held-out"),
    options.motions,
  );
  const pattern = random.chance(patterned) ? random.pick(patterns.slice(1)) : "plain";
  const tone = random.pick(toneNames);
  if (random.chance(twoObjects)) {
    const second = drawComposition(
      random,
      (each) =>
        each.colour !== first.colour && each.shape !== first.shape && (split === "all" || !isHeldOut(each)),
      options.motions,
    );
    return { objects: placeTwo(random, first, second, grid), background: { tone, pattern }, camera: "still" };
  }
  const camera = random.chance(moving) ? random.pick(cameras.slice(1)) : "still";
  const shown = camera === "still" || isTexture(pattern) ? pattern : random.pick(textures);
  return { objects: [placeOne(random, first, camera, grid)], background: { tone, pattern: shown }, camera };
}

function checkOptions({ seed, index, grid = 1 }: DrawOptions): void {
  if (!Number.isSafeInteger(grid) || grid < 1)
    throw new ConfigError(`the grid of a scene is ${grid}; it must be a whole number, 1 or more`);
  for (const [name, value] of Object.entries({ seed, index }))
    if (!Number.isSafeInteger(value) || value < 0)
      throw new ConfigError(`the ${name} of a scene is ${value}; it must be a whole number, 0 or more`);
}

function isTexture(pattern: Pattern): boolean {
  return (textures as readonly Pattern[]).includes(pattern);
}

/** Motion first, then colour and shape, so that spinning, which two shapes cannot, is as frequent as the rest. */
function drawComposition(
  random: RandomSource,
  allowed: (each: Composition) => boolean,
  shares: DrawOptions["motions"] = {},
): Composition {
  const all = compositions.filter(allowed);
  const named = [...new Set(all.map((each) => each.motion))];
  const motion = random.pick(named.flatMap((each) => Array<Motion>(shares[each] ?? 1).fill(each)));
  const { colour, shape } = random.pick(all.filter((each) => each.motion === motion));
  return { colour, shape, motion };
}

/** How far shapes reach beyond their radius, at most. */
export const REACH = 1.1;
/** Objects keep this distance from the frame and twice as much from each other. */
const MARGIN = 0.012;
/** Lengths of paths, from and to: of a single object, of one of two, of one that has half of the frame. */
const travels = {
  one: [0.32, 0.45],
  two: [0.22, 0.4],
  least: [0.19, 0.19],
} as const satisfies Record<string, readonly [number, number]>;
type Travel = keyof typeof travels;

/** How far spinning objects turn, from and to, in radians. */
const TURN = [2.4, 3.4] as const;

function placeOne(
  random: RandomSource,
  composition: Composition,
  camera: Camera,
  grid: number | undefined,
): SceneObject {
  for (let attempt = 0; ; attempt++) {
    // Not every large object stays in the frame while the camera moves; every small one does on its shortest path.
    const size = attempt < 8 ? random.pick(sizeNames) : "small";
    const placed = place(random, { composition, size, travel: attempt < 16 ? "one" : "least", camera, grid });
    if (placed !== undefined) return placed;
  }
}

/** Tries places until the two are apart; where that fails, small ones with short paths in a half of the frame each. */
function placeTwo(
  random: RandomSource,
  first: Composition,
  second: Composition,
  grid: number | undefined,
): SceneObject[] {
  let wanted: Size[] = [];
  for (let attempt = 0; attempt < 100; attempt++) {
    // The same sizes for a while, as large ones need more tries to come apart.
    if (attempt % 25 === 0)
      wanted = attempt < 50 ? [random.pick(sizeNames), random.pick(sizeNames)] : ["small", "small"];
    const [a, b] = [first, second].map((composition, i) =>
      place(random, { composition, size: wanted[i], travel: "two", camera: "still", grid }),
    );
    if (a !== undefined && b !== undefined && areApart(a, b)) return [a, b];
  }
  const left = random.chance(0.5);
  return [first, second].map((composition, i) => ({
    ...shapeMotion(random, composition, "small", "least"),
    radius: sizes.small[0],
    x: left === (i === 0) ? 0.25 : 0.75,
    y: rounded(within(random, [0.3, 0.7], grid) ?? 0.5),
  }));
}

interface Wish {
  readonly composition: Composition;
  readonly size: Size;
  readonly travel: Travel;
  readonly camera: Camera;
  readonly grid: number | undefined;
}

/** An object with a place such that it stays within the frame, or undefined where there is none. */
function place(random: RandomSource, wish: Wish): SceneObject | undefined {
  const { composition, size, travel, camera, grid } = wish;
  const drawn = shapeMotion(random, composition, size, travel);
  const object = { ...(grid === undefined ? drawn : evened(drawn, travel)), x: 0, y: 0 };
  const bounds = { left: 0, right: 1, top: 0, bottom: 1 };
  for (const t of moments) {
    const { x, y, radius } = poseAt(object, t);
    const { shift, zoom } = cameraAt(camera, t);
    const half = 0.5 / zoom - radius * REACH - MARGIN;
    bounds.left = Math.max(bounds.left, 0.5 + shift - half - x);
    bounds.right = Math.min(bounds.right, 0.5 + shift + half - x);
    bounds.top = Math.max(bounds.top, 0.5 - half - y);
    bounds.bottom = Math.min(bounds.bottom, 0.5 + half - y);
  }
  if (bounds.left > bounds.right || bounds.top > bounds.bottom) return undefined;
  const x = within(random, [bounds.left, bounds.right], grid);
  const y = within(random, [bounds.top, bounds.bottom], grid);
  return x === undefined || y === undefined ? undefined : { ...object, x: rounded(x), y: rounded(y) };
}

type Range = readonly [from: number, to: number];

/** A place between two, on a line of the grid if there is one; undefined where no line lies between them. */
function within(random: RandomSource, range: Range, grid: number | undefined): number | undefined {
  if (grid === undefined) return random.within(range);
  const lines = Array.from({ length: grid + 1 }, (_, i) => i / grid);
  const inside = lines.filter((line) => range[0] <= line && line <= range[1]);
  return inside.length === 0 ? undefined : random.pick(inside);
}

/**
 * The same motion with the middle of what its radius, its path and its turn are drawn from. All turn clockwise; bounces, whose
 * speed changes, are as low as they come.
 */
function evened<T extends Omit<SceneObject, "x" | "y">>(object: T, travel: Travel): T {
  const length = middle(travels[object.motion === "bounces" ? "least" : travel]);
  return {
    ...object,
    radius: middle(sizes[object.size]),
    travel: object.travel === 0 ? 0 : length,
    turn: object.turn === 0 ? 0 : middle(TURN),
  };
}

function middle([from, to]: Range): number {
  return rounded((from + to) / 2);
}

function shapeMotion(
  random: RandomSource,
  { colour, shape, motion }: Composition,
  size: Size,
  travel: Travel,
): Omit<SceneObject, "x" | "y"> {
  const moves = motion === "bounces" || direction(motion) !== undefined;
  const length = random.within(travels[travel]);
  const turn = random.within(TURN) * (random.chance(0.5) ? 1 : -1);
  return {
    colour,
    shape,
    motion,
    size,
    radius: rounded(random.within(sizes[size])),
    travel: moves ? rounded(length) : 0,
    turn: motion === "spins" ? rounded(turn) : 0,
  };
}

/** Four digits are more than a pixel shows, and keep the lists of scenes short. */
function rounded(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}

const moments: readonly number[] = Array.from({ length: 33 }, (_, i) => i / 32);

function areApart(a: SceneObject, b: SceneObject): boolean {
  return moments.every((t) => {
    const [p, q] = [poseAt(a, t), poseAt(b, t)];
    return Math.hypot(p.x - q.x, p.y - q.y) > (p.radius + q.radius) * REACH + 2 * MARGIN;
  });
}

/** Where an object is: centre and radius in shares of the shorter side, angle in radians, clockwise. */
export interface Pose {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly angle: number;
}

/** Growing objects go from 0.65 to 1.35 of their mean radius. */
const GROWTH = 0.7;
const BOUNCES = 2;

/** The pose of an object in the world at time t, 0 for the first frame and 1 for the last. */
export function poseAt(object: SceneObject, t: number): Pose {
  const { motion, travel, turn } = object;
  const [dx, dy] = direction(motion) ?? [0, 0];
  const along = (t - 0.5) * travel;
  const growth = motion === "grows" ? 1 : motion === "shrinks" ? -1 : 0;
  // A parabola between two touches of the floor; the first frame finds the object at the top.
  const fall = (BOUNCES * t + 0.5) % 1;
  const hop = motion === "bounces" ? travel * (0.5 - 4 * fall * (1 - fall)) : 0;
  return {
    x: object.x + dx * along,
    y: object.y + dy * along + hop,
    radius: object.radius * (1 + growth * GROWTH * (t - 0.5)),
    angle: turn * t,
  };
}

function direction(motion: string): readonly [number, number] | undefined {
  if (motion === "left") return [-1, 0];
  if (motion === "right") return [1, 0];
  if (motion === "up") return [0, -1];
  return motion === "down" ? [0, 1] : undefined;
}

/** How far a panning camera goes over a clip, in shares of the shorter side, and how much a zooming one enlarges. */
const PAN = 0.22;
const ZOOM = 1.45;

/** A point of the world at (x, y) is shown at 0.5 + (x - 0.5 - shift) * zoom, 0.5 + (y - 0.5) * zoom. */
export interface View {
  readonly shift: number;
  readonly zoom: number;
}

/** What the camera does at time t in 0..1. */
export function cameraAt(camera: Camera, t: number): View {
  const way = camera === "pan right" ? 1 : camera === "pan left" ? -1 : 0;
  return { shift: way * PAN * t, zoom: camera === "zoom in" ? ZOOM ** t : 1 };
}

/** @file Captions of scenes from a small grammar: the same scene in many words, short or long. */
import { type RandomSource, randomSource } from "./random.ts";
import { poseAt, type Scene, type SceneObject } from "./scene.ts";
import {
  type Camera,
  colourNames,
  type Motion,
  type Pattern,
  type Size,
  shapes,
  toneNames,
} from "./vocabulary.ts";

export interface CaptionOptions {
  readonly seed: number;
  readonly index: number;
  /**
   * "short" (the default) names colour, shape and motion of every object and a moving camera, sometimes size and
   * background; "long" names everything, the place where objects start too, in 20 to 35 words.
   */
  readonly length?: "short" | "long";
}

/** Finite form and participle of each way to put a motion; the first is the plain one. */
const verbs: Readonly<Record<Motion, readonly (readonly [finite: string, participle: string])[]>> = {
  left: sideways("left"),
  right: sideways("right"),
  up: [
    ["moves up", "moving up"],
    ["moves upward", "moving upward"],
    ["rises", "rising"],
    ["floats up", "floating up"],
  ],
  down: [
    ["moves down", "moving down"],
    ["moves downward", "moving downward"],
    ["sinks", "sinking"],
    ["slides down", "sliding down"],
  ],
  still: [
    ["stays still", "staying still"],
    ["stays in place", "staying in place"],
    ["does not move", "standing still"],
    ["rests", "resting"],
  ],
  grows: [
    ["grows", "growing"],
    ["gets bigger", "getting bigger"],
    ["becomes larger", "becoming larger"],
  ],
  shrinks: [
    ["shrinks", "shrinking"],
    ["gets smaller", "getting smaller"],
    ["becomes smaller", "becoming smaller"],
  ],
  spins: [
    ["spins", "spinning"],
    ["rotates", "rotating"],
    ["turns around", "turning around"],
  ],
  bounces: [
    ["bounces", "bouncing"],
    ["bounces up and down", "bouncing up and down"],
    ["jumps up and down", "jumping up and down"],
  ],
};

function sideways(side: "left" | "right"): readonly (readonly [string, string])[] {
  return [
    [`moves ${side}`, `moving ${side}`],
    [`moves to the ${side}`, `moving to the ${side}`],
    [`slides ${side}`, `sliding ${side}`],
    [`slides to the ${side}`, `sliding to the ${side}`],
    [`glides to the ${side}`, `gliding to the ${side}`],
  ];
}

const sizeWords: Readonly<Record<Size, readonly string[]>> = {
  small: ["small", "little"],
  large: ["large", "big"],
};

/** {tone} takes its article along, "a black". */
const backgrounds: Readonly<Record<Pattern, readonly string[]>> = {
  plain: ["on {tone} background", "on {plain} {bare} background", "against {tone} background"],
  gradient: ["on {tone} background with a soft gradient", "on {tone} gradient background"],
  grid: ["on {tone} background with a faint grid", "on {tone} grid background"],
  stripes: ["on {tone} background with faint stripes", "on {tone} striped background"],
  dots: ["on {tone} background with faint dots", "on {tone} dotted background"],
};

const cameraVerbs: Readonly<Record<Camera, readonly string[]>> = {
  still: ["stays still", "does not move", "is fixed"],
  "pan left": ["pans left", "pans to the left"],
  "pan right": ["pans right", "pans to the right"],
  "zoom in": ["zooms in", "slowly zooms in"],
};

const plain = "{a} {motion}";

const shortForms = {
  one: [
    "{a} {motion}",
    "{a} is {moving}",
    "{a} {moving}",
    "there is {a} {moving}",
    "a video of {a} {moving}",
    "this clip shows {a} that {motion}",
  ],
  two: [
    "{a} {motion} and {b} {motion2}",
    "{a} {motion} while {b} {motion2}",
    "{a} is {moving} and {b} is {moving2}",
    "{a} {moving} and {b} {moving2}",
    "a video of {a} {moving} and {b} {moving2}",
  ],
  camera: [" while the camera {camera}", " as the camera {camera}", ", and the camera {camera}"],
} as const;

const longForms = {
  one: [
    "{a} {motion} {background}. It starts {place} of the frame. The camera {camera}.",
    "{a} is {moving} {background}. It starts {place} of the frame, and the camera {camera}.",
    "there is {a} {background}. The {shape} starts {place} of the frame and {motion}. The camera {camera}.",
    "this clip shows {a} that starts {place} of the frame and {motion} {background} while the camera {camera}.",
    "a video of {a} {moving} {background}. At first it is {place} of the frame. The camera {camera}.",
  ],
  two: [
    "{a} {motion} and {b} {motion2} {background}. The {shape} starts {place}, the {shape2} {place2}. The camera {camera}.",
    "{a} is {moving} while {b} is {moving2} {background}. The {shape} starts {place}, the {shape2} {place2}. The camera {camera}.",
    "{a} {place} {motion} and {b} {place2} {motion2} {background}. The camera {camera}.",
  ],
} as const;

const rows = ["top", "middle", "bottom"] as const;
const columns = ["left", "middle", "right"] as const;
const places: Readonly<Record<string, string>> = {
  "top left": "in the upper left",
  "top middle": "at the top",
  "top right": "in the upper right",
  "middle left": "on the left",
  "middle middle": "in the middle",
  "middle right": "on the right",
  "bottom left": "in the lower left",
  "bottom middle": "at the bottom",
  "bottom right": "in the lower right",
};

/** A caption of this scene: a pure function of the scene and the options. */
export function captionOf(scene: Scene, options: CaptionOptions): string {
  const long = options.length === "long";
  const random = randomSource(options.seed, options.index, long ? 3 : 2);
  return long ? longCaption(scene, random) : shortCaption(scene, random);
}

/** Nearly half are of the plainest form, "a red circle moves right". */
function shortCaption(scene: Scene, random: RandomSource): string {
  const simple = random.chance(0.45);
  const two = scene.objects.length === 2;
  const form = simple
    ? two
      ? shortForms.two[0]
      : plain
    : random.pick(two ? shortForms.two : shortForms.one);
  const background = !simple && random.chance(0.45) ? " {background}" : "";
  const camera = scene.camera === "still" ? "" : random.pick(shortForms.camera);
  const filling = fill(scene, random, { simple, sized: !simple && random.chance(0.5) });
  const text = filled(`${form}${background}${camera}`, filling);
  if (simple) return text;
  const sentence = random.chance(0.6) ? capitalised(text) : text;
  return random.chance(0.5) ? `${sentence}.` : sentence;
}

const LONG = { from: 20, to: 35 } as const;

/** Draws until the length fits; few draws fall outside. */
function longCaption(scene: Scene, random: RandomSource): string {
  const forms = scene.objects.length === 2 ? longForms.two : longForms.one;
  for (;;) {
    const text = capitalised(filled(random.pick(forms), fill(scene, random, { simple: false, sized: true })));
    const words = text.split(" ").length;
    if (words >= LONG.from && words <= LONG.to) return text;
  }
}

/** The words for each slot of a form. */
function fill(
  { objects, background, camera }: Scene,
  random: RandomSource,
  { simple, sized }: { readonly simple: boolean; readonly sized: boolean },
): Readonly<Record<string, string>> {
  const slots: Record<string, string> = {
    camera: simple ? cameraVerbs[camera][0] : random.pick(cameraVerbs[camera]),
  };
  const bare = background.tone;
  slots.background = filled(random.pick(backgrounds[background.pattern]), {
    tone: `a ${bare}`,
    plain: "a plain",
    bare,
  });
  for (const [object, a, number] of [
    [objects[0], "a", ""],
    [objects.at(1), "b", "2"],
  ] as const) {
    if (object === undefined) continue;
    const [finite, participle] = simple ? verbs[object.motion][0] : random.pick(verbs[object.motion]);
    const size = sized ? `${random.pick(sizeWords[object.size])} ` : "";
    slots[a] = withArticle(`${size}${object.colour} ${object.shape}`);
    slots[`motion${number}`] = finite;
    slots[`moving${number}`] = participle;
    slots[`shape${number}`] = object.shape;
    slots[`place${number}`] = placeOf(object);
  }
  return slots;
}

function filled(form: string, slots: Readonly<Record<string, string>>): string {
  return form.replace(/\{(\w+)\}/g, (_, name: string) => slots[name]);
}

function withArticle(noun: string): string {
  return `${/^[aeiou]/.test(noun) ? "an" : "a"} ${noun}`;
}

function capitalised(text: string): string {
  return text[0].toUpperCase() + text.slice(1);
}

/** Where the object is in the first frame, by thirds of the scene. */
function placeOf(object: SceneObject): string {
  const { x, y } = poseAt(object, 0);
  return places[`${rows[third(y)]} ${columns[third(x)]}`];
}

function third(share: number): number {
  return share < 0.39 ? 0 : share > 0.61 ? 2 : 1;
}

/** The words and marks of a caption, as a tokenizer for this grammar sees them: runs of letters; `,` and `.` alone. */
export function captionWords(caption: string): string[] {
  return caption.match(/[A-Za-z]+|[^A-Za-z\s]/g) ?? [];
}

/** All words and marks that captions can have, sorted; upper and lower case count as different. */
export function captionVocabulary(): string[] {
  const forms = [...Object.values(shortForms).flat(), ...Object.values(longForms).flat()];
  const phrases = [
    ...forms,
    ...Object.values(verbs).flat(2),
    ...Object.values(sizeWords).flat(),
    ...Object.values(backgrounds).flat(),
    ...Object.values(cameraVerbs).flat(),
    ...Object.values(places),
    ...colourNames,
    ...shapes,
    ...toneNames,
    "a plain",
  ].map((phrase) => phrase.replace(/\{\w+\}/g, " "));
  const starts = forms.filter((form) => /^[a-z]/.test(form)).map((form) => capitalised(form.split(" ")[0]));
  return [...new Set([...phrases, ...starts, "a", "an", "A", "An", "."].flatMap(captionWords))].sort();
}

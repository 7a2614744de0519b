/** @file Turns a scene into the frames of a clip. */
import { ShapeError } from "../../errors.ts";
import { coverage, drawBackground, type FrameSize } from "./background.ts";
import { cameraAt, poseAt, REACH, type Scene, type SceneObject, type View } from "./scene.ts";
import { signedDistances } from "./signed-distance.ts";
import { colours } from "./vocabulary.ts";

/** Size of a clip in pixels and frames. */
export interface ShapesClip extends FrameSize {
  readonly frames: number;
}

/** Where the shadow lies, how soft and how dark it is: offsets and softness in radii. */
const SHADOW = { x: 0.1, y: 0.2, softness: 0.36, darkness: 0.34 } as const;
/** Objects are this much lighter at their top and darker at their bottom. */
const SHADING = 0.1;

/**
 * The frames of a scene: RGB bytes `[frames, height, width, 3]`. The scene fills the square in the middle of the frame;
 * the first frame is its beginning and the last its end, however many there are.
 */
export function renderScene(scene: Scene, { width, height, frames }: ShapesClip): Uint8Array {
  checkClip({ width, height, frames });
  const size = { width, height };
  const clip = new Uint8Array(frames * height * width * 3);
  const still =
    scene.camera === "still" ? drawBackground(scene.background, cameraAt("still", 0), size) : null;
  for (let frame = 0; frame < frames; frame++) {
    const t = frames === 1 ? 0 : frame / (frames - 1);
    const view = cameraAt(scene.camera, t);
    const pixels = clip.subarray(frame * height * width * 3, (frame + 1) * height * width * 3);
    pixels.set(still ?? drawBackground(scene.background, view, size));
    for (const object of scene.objects) drawObject(pixels, size, onScreen(object, t, view, size));
  }
  return clip;
}

function checkClip(clip: ShapesClip): void {
  for (const [name, value] of Object.entries(clip))
    if (!Number.isInteger(value) || value < 1)
      throw new ShapeError(`a clip of shapes has ${name} ${value}; it must be a whole number, 1 or more`);
}

/** An object in pixels. */
interface Drawn {
  readonly object: SceneObject;
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly angle: number;
}

function onScreen(object: SceneObject, t: number, { shift, zoom }: View, size: FrameSize): Drawn {
  const pose = poseAt(object, t);
  const side = Math.min(size.width, size.height);
  return {
    object,
    x: size.width / 2 + (pose.x - 0.5 - shift) * zoom * side,
    y: size.height / 2 + (pose.y - 0.5) * zoom * side,
    radius: pose.radius * zoom * side,
    angle: pose.angle,
  };
}

/** Draws shadow and object over the pixels, looking only at those near it. */
function drawObject(pixels: Uint8Array, { width, height }: FrameSize, drawn: Drawn): void {
  const { object, radius } = drawn;
  const distance = signedDistances[object.shape];
  const [cos, sin] = [Math.cos(drawn.angle) / radius, Math.sin(drawn.angle) / radius];
  const [red, green, blue] = colours[object.colour];
  const reach = radius * (REACH + SHADOW.softness / 2) + 1;
  const [right, down] = [drawn.x + reach + SHADOW.x * radius, drawn.y + reach + SHADOW.y * radius];
  const left = Math.max(0, Math.floor(drawn.x - reach));
  const shadowAt = (dx: number, dy: number) => {
    const [x, y] = [dx - SHADOW.x * radius, dy - SHADOW.y * radius];
    const depth = 0.5 - distance(x * cos + y * sin, y * cos - x * sin) / SHADOW.softness;
    const soft = depth <= 0 ? 0 : depth >= 1 ? 1 : depth * depth * (3 - 2 * depth);
    return 1 - SHADOW.darkness * soft;
  };
  for (let row = Math.max(0, Math.floor(drawn.y - reach)); row < Math.min(height, down); row++) {
    const dy = row + 0.5 - drawn.y;
    const light = 1 - (SHADING * dy) / radius;
    for (let column = left; column < Math.min(width, right); column++) {
      const dx = column + 0.5 - drawn.x;
      const cover = coverage(radius * distance(dx * cos + dy * sin, dy * cos - dx * sin));
      const under = cover === 1 ? 0 : (1 - cover) * shadowAt(dx, dy);
      const at = (row * width + column) * 3;
      pixels[at] = mixed(pixels[at] * under + red * light * cover);
      pixels[at + 1] = mixed(pixels[at + 1] * under + green * light * cover);
      pixels[at + 2] = mixed(pixels[at + 2] * under + blue * light * cover);
    }
  }
}

function mixed(value: number): number {
  return value >= 255 ? 255 : Math.round(value);
}

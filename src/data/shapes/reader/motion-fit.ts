/** @file Names the motion of a track: the strongest of moving, growing, spinning and bouncing, or staying still. */
import type { ShapesClip } from "../render.ts";
import { cameraAt } from "../scene.ts";
import { type Camera, canSpin, type Motion } from "../vocabulary.ts";
import type { ShapeFit } from "./shape-fit.ts";
import { mean, type Track } from "./track.ts";

/** A path in the world, in shares of the clip's shorter side; `t` from 0 to 1. */
export interface Path {
  readonly t: readonly number[];
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly radius: readonly number[];
  readonly angle: readonly number[];
}

/** Takes the camera's movement out of a track. */
export function pathOf(track: Track, fit: ShapeFit, camera: Camera, clip: ShapesClip): Path {
  const { width, height, frames } = clip;
  const side = Math.min(width, height);
  const t = track.blobs.map(({ frame }) => (frames === 1 ? 0 : frame / (frames - 1)));
  const views = t.map((each) => cameraAt(camera, each));
  return {
    t,
    x: track.blobs.map((blob, i) => 0.5 + (blob.x - width / 2) / side / views[i].zoom + views[i].shift),
    y: track.blobs.map((blob, i) => 0.5 + (blob.y - height / 2) / side / views[i].zoom),
    radius: fit.radii.map((radius, i) => radius / side / views[i].zoom),
    angle: fit.angles,
  };
}

/** What each motion amounts to at the least in a drawn scene; the strength of one is measured in it. */
const LEAST = { travel: 0.3, growth: 0.7, turn: 2.4, bounce: 0.055 } as const;
/** Less than this share of every motion is none. */
const STILL = 0.38;

/** The motion of a path of this shape. */
export function motionOf(path: Path, fit: ShapeFit): Motion {
  const x = line(path.t, path.x);
  const y = line(path.t, path.y);
  const growth = line(path.t, path.radius.map(Math.log)).slope / LEAST.growth;
  const turn = canSpin(fit.shape) ? line(path.t, path.angle).slope / LEAST.turn : 0;
  const strengths: readonly (readonly [Motion, number])[] = [
    ["left", -x.slope / LEAST.travel],
    ["right", x.slope / LEAST.travel],
    ["up", -y.slope / LEAST.travel],
    ["down", y.slope / LEAST.travel],
    ["grows", growth],
    ["shrinks", -growth],
    ["spins", Math.abs(turn)],
    ["bounces", y.off / LEAST.bounce],
    ["still", STILL],
  ];
  return strengths.reduce((best, each) => (each[1] > best[1] ? each : best))[0];
}

/** The line nearest to some values: how much it rises from t = 0 to 1, and the values' standard deviation around it. */
function line(t: readonly number[], values: readonly number[]): { slope: number; off: number } {
  const [tMean, mid] = [mean(t), mean(values)];
  const spread = mean(t.map((each) => (each - tMean) ** 2));
  const slope = spread > 0 ? mean(t.map((each, i) => (each - tMean) * (values[i] - mid))) / spread : 0;
  const off = Math.sqrt(mean(t.map((each, i) => (values[i] - mid - slope * (each - tMean)) ** 2)));
  return { slope, off };
}

/**
 * @file Scores a model on held-out shapes with the exact reader, as one line of JSON. Models that see more than the prompt
 * are given it of the scene that they are to show: its first frame, its first and last frame, or its edges.
 *
 *     npx tsx scripts/nano-report.ts [DIR] [--prompts N] [--seeds N] [--guidance X] [--scheduler dpm] [--precision int8]
 *         [--lora DIR] [--first N] [--recipe FILE] [--verbose]
 */
import { parseArgs } from "node:util";
import { edgesOf } from "../src/data/clips/edges.ts";
import { captionOf } from "../src/data/shapes/caption.ts";
import { judge, type Verdict } from "../src/data/shapes/reader/judge.ts";
import { readClip } from "../src/data/shapes/reader/read.ts";
import { renderScene } from "../src/data/shapes/render.ts";
import type { Scene } from "../src/data/shapes/scene.ts";
import { kindsOf } from "../src/pipeline/mode.ts";
import { loadPipeline } from "../src/pipeline/pipeline.ts";
import type { Precision } from "../src/pipeline/precision.ts";
import type { Seen } from "../src/pipeline/seen-to-video.ts";
import { generatedClip } from "./generated-clip.ts";
import { heldOutScenes, shapesOf } from "./recipe-scenes.ts";

const traits = ["colour", "shape", "motion", "everything"] as const;
type Score = Record<(typeof traits)[number] | "clips", number>;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompts: { type: "string", default: "200" },
    seeds: { type: "string", default: "3" },
    steps: { type: "string", default: "50" },
    guidance: { type: "string" },
    scheduler: { type: "string", default: "ddim" },
    precision: { type: "string" },
    lora: { type: "string" },
    first: { type: "string", default: "0" },
    recipe: { type: "string", default: "recipes/nano.yaml" },
    verbose: { type: "boolean", default: false },
  },
});

const data = shapesOf(values.recipe);
const sceneAt = heldOutScenes(data, 2024);
const pipeline = await loadPipeline(positionals[0], {
  precision: values.precision as Precision | undefined,
  loras: values.lora === undefined ? [] : [{ file: values.lora }],
});
const [kind] = kindsOf(pipeline.checkpoint);
const { config } = pipeline.checkpoint.transformer;
const request = {
  steps: Number(values.steps),
  guidance: Number(values.guidance ?? config.guidance ?? 6),
  scheduler: values.scheduler as "ddim" | "dpm",
};
const scores = { one: empty(), two: empty() };
const grounds = new Map<string, number>();
const start = performance.now();
const from = Number(values.first);
for (let index = from; index < from + Number(values.prompts); index++) {
  const scene = sceneAt(index);
  const prompt = captionOf(scene, { seed: 5, index, length: "short" });
  for (let seed = 0; seed < Number(values.seeds); seed++) {
    const { rgb, size } = await generatedClip(pipeline, { ...request, prompt, seed }, seenOf(scene));
    const reading = readClip(rgb, size);
    const verdict = judge(reading, scene);
    const ground = reading.background?.tone ?? "none";
    grounds.set(ground, (grounds.get(ground) ?? 0) + 1);
    add(scores[scene.objects.length === 1 ? "one" : "two"], verdict);
    if (values.verbose && !verdict.everything) console.error(`${describe(scene)}: ${missed(verdict)}`);
  }
}
await pipeline.close();
const seconds = (performance.now() - start) / 1000;
const all = empty();
for (const key of Object.keys(all) as (keyof Score)[]) all[key] = scores.one[key] + scores.two[key];
const percent = (score: Score) =>
  Object.fromEntries(traits.map((trait) => [trait, Math.round((1000 * score[trait]) / score.clips) / 10]));
console.log(
  JSON.stringify({
    ...request,
    precision: values.precision ?? "fp32",
    clips: all.clips,
    all: percent(all),
    one: percent(scores.one),
    two: percent(scores.two),
    grounds: Object.fromEntries(grounds),
    seconds,
  }),
);

/** What the model sees beside the prompt. */
function seenOf(scene: Scene): Seen | undefined {
  const { size, frames } = data;
  const rgb = renderScene(scene, { ...size, frames });
  const frame = 3 * size.width * size.height;
  const picture = (of: Uint8Array, at: number) => ({
    ...size,
    rgb: of.subarray(at * frame, (at + 1) * frame),
  });
  if (kind === "image") return { kind, image: picture(rgb, 0) };
  if (kind === "inpaint") return { kind, start: picture(rgb, 0), end: picture(rgb, frames - 1) };
  if (kind !== "control") return undefined;
  const edges = edgesOf(rgb, size);
  return { kind, frames: Array.from({ length: frames }, (_, at) => picture(edges, at)) };
}

function empty(): Score {
  return { colour: 0, shape: 0, motion: 0, everything: 0, clips: 0 };
}

function add(score: Score, verdict: Verdict): void {
  score.clips++;
  for (const trait of traits) score[trait] += Number(verdict[trait]);
}

function describe({ objects }: Scene): string {
  return objects.map(({ colour, shape, motion }) => `${colour} ${shape} ${motion}`).join(" and ");
}

function missed(verdict: Verdict): string {
  return traits.filter((trait) => !verdict[trait]).join(", ");
}

/**
 * @file Scores a text-to-video model on held-out shapes with the exact reader, as one line of JSON.
 *
 *     npx tsx scripts/nano-report.ts [DIR] [--prompts N] [--seeds N] [--guidance X] [--scheduler dpm] [--precision int8] ...
 */
import { parseArgs } from "node:util";
import { captionOf } from "../src/data/shapes/caption.ts";
import { judge, type Verdict } from "../src/data/shapes/reader/judge.ts";
import { readClip } from "../src/data/shapes/reader/read.ts";
import type { Scene } from "../src/data/shapes/scene.ts";
import { loadPipeline } from "../src/pipeline/pipeline.ts";
import type { Precision } from "../src/pipeline/precision.ts";
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
    guidance: { type: "string", default: "6" },
    scheduler: { type: "string", default: "ddim" },
    precision: { type: "string" },
    recipe: { type: "string", default: "recipes/nano.yaml" },
    verbose: { type: "boolean", default: false },
  },
});

const request = {
  steps: Number(values.steps),
  guidance: Number(values.guidance),
  scheduler: values.scheduler as "ddim" | "dpm",
};
const sceneAt = heldOutScenes(shapesOf(values.recipe), 2024);
const pipeline = await loadPipeline(positionals[0], { precision: values.precision as Precision | undefined });
const scores = { one: empty(), two: empty() };
const start = performance.now();
for (let index = 0; index < Number(values.prompts); index++) {
  const scene = sceneAt(index);
  const prompt = captionOf(scene, { seed: 5, index, length: "short" });
  for (let seed = 0; seed < Number(values.seeds); seed++) {
    const { rgb, size } = await generatedClip(pipeline, { ...request, prompt, seed });
    const verdict = judge(readClip(rgb, size), scene);
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
    seconds,
  }),
);

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

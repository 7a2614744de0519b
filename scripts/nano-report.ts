/** @file Scores a text-to-video model on held-out shapes with the exact reader: npx tsx scripts/nano-report.ts DIR */
import { parseArgs } from "node:util";
import { captionOf } from "../src/data/shapes/caption.ts";
import { judge, type Verdict } from "../src/data/shapes/reader/judge.ts";
import { readClip } from "../src/data/shapes/reader/read.ts";
import { drawScene, type Scene } from "../src/data/shapes/scene.ts";
import { loadPipeline, type Pipeline } from "../src/pipeline/pipeline.ts";
import { textToVideo } from "../src/pipeline/text-to-video.ts";

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
    length: { type: "string", default: "short" },
    verbose: { type: "boolean", default: false },
  },
});

const request = {
  steps: Number(values.steps),
  guidance: Number(values.guidance),
  scheduler: values.scheduler as "ddim" | "dpm",
};
const pipeline = await loadPipeline(positionals[0] ?? "models/nano");
const scores = { one: empty(), two: empty() };
const start = performance.now();
for (let index = 0; index < Number(values.prompts); index++) {
  const scene = drawScene({ seed: 2024, index, split: "held-out", camera: 0 });
  const length = values.length as "short" | "long";
  const prompt = captionOf(scene, { seed: 5, index, length });
  for (let seed = 0; seed < Number(values.seeds); seed++) {
    const verdict = judge(readClip(...(await clipOf(pipeline, prompt, seed))), scene);
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
    clips: all.clips,
    all: percent(all),
    one: percent(scores.one),
    two: percent(scores.two),
    seconds,
  }),
);

/** A generated clip as the reader takes it: 8-bit pixels and their size. */
async function clipOf(
  pipeline: Pipeline,
  prompt: string,
  seed: number,
): Promise<Parameters<typeof readClip>> {
  const parts: Uint8Array[] = [];
  let size = { width: 0, height: 0 };
  for await (const event of textToVideo(pipeline, { ...request, prompt, seed })) {
    if (event.kind === "started") size = event;
    if (event.kind === "frames")
      parts.push(Uint8Array.from(event.frames.data as Float32Array, (value) => Math.round(255 * value)));
  }
  const rgb = Uint8Array.from(Buffer.concat(parts));
  return [
    rgb,
    { width: size.width, height: size.height, frames: rgb.length / (3 * size.width * size.height) },
  ];
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

/**
 * @file Draws docs/images/modes/*.png: runs the commands above each picture in docs/, and shows a row of frames of
 * every clip that they make.
 *
 *     npx tsx scripts/mode-pictures.ts [--model DIR] [NAME...]
 *
 * DIR is the checkpoint, those that come along unless given; names choose among the pictures.
 */
import { mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { askedJob } from "../src/cli/asked-job.ts";
import { data } from "../src/cli/commands/data.ts";
import { generate } from "../src/cli/commands/generate.ts";
import { outputsOf, runJob } from "../src/cli/generate-job.ts";
import { generateTable } from "../src/cli/generate-table.ts";
import { parseOptions } from "../src/cli/options.ts";
import type { Job } from "../src/cli/run-folder.ts";
import { readClip } from "../src/media/pictures.ts";
import { type DocPicture, docPictures, type PictureCall } from "./doc-pictures.ts";
import { type Cell, drawSheet } from "./sheet.ts";
import { root } from "./source-files.ts";

/** Frames in a row, evenly spaced from the first to the last. */
const SHOWN = 6;

/** Options that the labels leave out: they are the same everywhere, or say nothing of what is seen. */
const unlabelled = ["model", "steps", "seed", "output"];

type Clip = Cell & { readonly side: number; readonly frames: number };

const quiet = {
  terminal: { isJson: false, say() {}, print() {}, emit() {}, progress() {} },
  signal: new AbortController().signal,
  cleanups: new Set<() => Promise<void>>(),
  fail() {},
};

const { values: given, positionals: names } = parseArgs({
  allowPositionals: true,
  options: { model: { type: "string" } },
});
const model = given.model === undefined ? undefined : resolve(given.model);
const pictures = docPictures().filter(({ name }) => names.length === 0 || names.includes(name));
for (const picture of pictures) {
  const started = performance.now();
  const file = await drawn(picture);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${file}: ${Math.ceil(statSync(file).size / 1000)} kB, ${seconds} s`);
}

/** Runs the commands of a picture in a folder of their own, so that they do without those of others. */
async function drawn({ name, calls }: DocPicture): Promise<string> {
  const work = mkdtempSync(join(tmpdir(), "cogvideox-picture-"));
  symlinkSync(join(root, "models"), join(work, "models"));
  process.chdir(work);
  try {
    const clips: Clip[] = [];
    for (const call of calls) clips.push(...(await clipsOf(call)));
    const [{ side, frames }] = clips;
    const shown = Array.from({ length: SHOWN }, (_, i) => Math.round((i * (frames - 1)) / (SHOWN - 1)));
    const file = join(root, `docs/images/modes/${name}.png`);
    await drawSheet(file, clips, { columns: 1, side, shown });
    return file;
  } finally {
    process.chdir(root);
    rmSync(work, { recursive: true, force: true });
  }
}

async function clipsOf({ command, args }: PictureCall): Promise<Clip[]> {
  if (command === "data") {
    await data.run([...args], quiet);
    return [await clipIn(args[args.indexOf("-o") + 1], "its edges")];
  }
  const { values, positionals } = parseOptions([...args], generateTable, generate.positionals);
  const job = await askedJob({ ...values, model }, positionals, quiet);
  await runJob(job, quiet);
  const labels = labelsOf(job);
  return Promise.all(outputsOf(job).map((file, index) => clipIn(file, labels[index])));
}

async function clipIn(file: string, label: string): Promise<Clip> {
  const frames: Uint8Array[] = [];
  let side = 0;
  for await (const { rgb, width } of readClip(file)) {
    frames.push(rgb);
    side = width;
  }
  return { rgb: Uint8Array.from(Buffer.concat(frames)), label, side, frames: frames.length };
}

/** What was asked for, of every clip of a job: the prompt and the options; the seed where there are several. */
function labelsOf({ values, prompts, seeds }: Job): string[] {
  const options = Object.entries(values)
    .filter(([name, value]) => value !== undefined && !unlabelled.includes(name))
    .map(([name, value]) => (value === true ? ` --${name}` : ` --${name} ${value}`))
    .join("");
  return prompts.flatMap((prompt) =>
    seeds.map((seed) => `${prompt}${options}${seeds.length > 1 ? ` --seed ${seed}` : ""}`),
  );
}

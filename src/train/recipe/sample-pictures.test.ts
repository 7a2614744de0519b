/** @file A run's sample clips are in its TensorBoard file, as pictures of their frames. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { contactStrip } from "../../media/contact-strip.ts";
import { signedToRgb } from "../../media/frames.ts";
import { readImage } from "../../media/read.ts";
import { createVideoWriter } from "../../media/write.ts";
import { type RecipeEvent, runRecipe, type Showing } from "./run-recipe.ts";

/** Reconstructions as the command line writes them, but without loss. */
const show: Showing = {
  clip: async (base, { data, shape: [, , height, width], fps }) => {
    const writer = await createVideoWriter(`${base}-png`, { width, height, fps });
    for (const frame of signedToRgb(data, { height, width })) await writer.write(frame);
    await writer.finish();
    return `${base}-png`;
  },
  samples: async () => [],
  strip: contactStrip,
};

/** The payloads of the records of an event file. */
function records(file: string): Buffer[] {
  const bytes = readFileSync(file);
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    found.push(bytes.subarray(at + 12, at + 12 + length));
    at += 12 + length + 4;
  }
  return found;
}

const run = (folder: string, options: { show: Showing; onEvent?: (event: RecipeEvent) => void }) => {
  const text = toyRecipe({ vaeSteps: 2, top: "sample: {every: 1}" });
  return runRecipe({ file: "toy.yaml", text }, { folder, only: "vae", ...options });
};

test("the picture of each step is the clip that was written", async () => {
  const folder = join(temporaryFolder(), "run");
  await run(folder, { show });
  const name = readdirSync(folder).find((name) => name.startsWith("events.out.tfevents."))!;
  const pictures = records(join(folder, name)).filter((record) => record.includes("vae/sample_1"));
  // After the time: field 2, the step.
  expect(pictures.map((record) => [...record.subarray(9, 11)])).toEqual([
    [0x10, 1],
    [0x10, 2],
  ]);
  for (const [i, record] of pictures.entries()) {
    const png = record.subarray(record.indexOf(Buffer.from("89504e470d0a1a0a", "hex")));
    const clip = join(folder, "samples", `step-0000000${i + 1}-png`, "frame_00000.png");
    expect(await readImage(png)).toEqual(await readImage(clip));
  }
}, 600_000);

test("a picture that cannot be made is a note, and the run goes on", async () => {
  const events: RecipeEvent[] = [];
  const strip = async () => {
    throw new Error("no frames");
  };
  const onEvent = (event: RecipeEvent) => void events.push(event);
  await run(join(temporaryFolder(), "run"), { show: { ...show, strip }, onEvent });
  const notes = events.flatMap((event) => (event.kind === "note" ? [event.text] : []));
  expect(notes).toEqual(["no sample at step 1: no frames", "no sample at step 2: no frames"]);
  expect(events.filter(({ kind }) => kind === "sample")).toHaveLength(2);
}, 600_000);

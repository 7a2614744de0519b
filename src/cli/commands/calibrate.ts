/** @file `cogvideox calibrate`: measures what magcache and teacache need to know of a model. */
import { join } from "node:path";
import { type Measured, teaCacheCoefficients } from "../../pipeline/caches/calibration.ts";
import { CALIBRATION_FILE, writeRatios } from "../../pipeline/caches/calibration-file.ts";
import type { GenerateOptions } from "../../pipeline/generate-options.ts";
import { loadPipeline, type Pipeline } from "../../pipeline/pipeline.ts";
import { devices } from "../../runtime/protocol.ts";
import { type Context, command } from "../command.ts";
import { engineOptions } from "../generate-table.ts";
import { eventsOf, sourceOptions } from "../generation-modes.ts";
import { modelFolder, modelOption } from "../model-folder.ts";
import type { OptionTable, OptionValues } from "../options.ts";
import { requireWritable } from "../tensor-files.ts";
import { Progress } from "../terminal.ts";

/** What is drawn while measuring; magnitudes hardly depend on it. */
const PROMPT = "A dog runs along a beach at sunset, waves roll in behind it, the camera follows.";

const options = {
  model: modelOption,
  output: { kind: "text", short: "o", value: "FILE", about: "file to write (magcache.json in the folder)" },
  image: sourceOptions.image,
  control: sourceOptions.control,
  "start-image": sourceOptions["start-image"],
  "end-image": sourceOptions["end-image"],
  width: { kind: "integer", about: "pixels, a multiple of 16 (the model's own size)" },
  height: { kind: "integer", about: "pixels, a multiple of 16 (the model's own size)" },
  frames: { kind: "integer", about: "8k + 1 frames (the model's own length)" },
  steps: { kind: "integer", about: "denoising steps, 1 to 1000 (50)" },
  guidance: { kind: "number", about: "guidance scale (6, or what the checkpoint says); 1 switches it off" },
  scheduler: { kind: "text", choices: ["ddim", "dpm"], about: "sampler (the checkpoint's own)" },
  seed: { kind: "integer", about: "seed of the noise (0)" },
  device: { kind: "text", choices: devices, about: "where to compute (cpu)" },
  threads: { kind: "integer", about: "threads for one operator (all cores)" },
} as const satisfies OptionTable;

type Values = OptionValues<typeof options>;

export const calibrate = command({
  name: "calibrate",
  about: "Measure what --cache magcache needs of a model, and teacache of one that is not official",
  positionals: ["[PROMPT]"],
  options,
  run: async (values, [prompt = PROMPT], context) => {
    const engine = engineOptions(values);
    const folder = await modelFolder(values, context);
    const file = values.output ?? join(folder, CALIBRATION_FILE);
    const pipeline = await loadPipeline(folder, engine);
    try {
      await requireWritable(file);
      const { measured, recipe } = await measure(pipeline, prompt, values, context);
      const { ratios } = measured;
      const coefficients = teaCacheCoefficients(measured);
      await writeRatios(file, { ratios, coefficients, recipe });
      context.terminal.print(file);
      context.terminal.emit({ event: "done", output: file, ratios, coefficients });
    } finally {
      await pipeline.close();
    }
  },
});

/** Runs all steps without leaving anything out, and stops before decoding. */
async function measure(
  pipeline: Pipeline,
  prompt: string,
  values: Values,
  { terminal, signal }: Context,
): Promise<{ measured: Measured; recipe: Readonly<Record<string, unknown>> }> {
  const progress = new Progress(terminal);
  const { width, height, frames, steps, guidance, seed } = values;
  const request: GenerateOptions = {
    ...{ prompt, width, height, frames, steps, guidance, seed, signal },
    scheduler: values.scheduler as GenerateOptions["scheduler"],
    cache: { kind: "calibration" },
    latentsOnly: true,
    onSegment: (event) => progress.segment(event),
  };
  let memory: unknown;
  let recipe: Readonly<Record<string, unknown>> = {};
  const sources = Object.fromEntries(Object.keys(sourceOptions).map((name) => [name, undefined]));
  for await (const event of eventsOf(pipeline, request, {
    ...(sources as Parameters<typeof eventsOf>[2]),
    image: values.image,
    control: values.control,
    "start-image": values["start-image"],
    "end-image": values["end-image"],
  })) {
    if (event.kind === "started") recipe = event.recipe;
    if (event.kind !== "step") continue;
    progress.stepDone(event.step, event.steps, event.seconds);
    memory = event.cache?.memory;
  }
  // The memory of a cache is plain data, and this is that of `calibration`.
  return { measured: memory as Measured, recipe };
}

/** @file `cogvideox train`: a recipe becomes a trained checkpoint. */
import { readFile } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { ConfigError } from "../../errors.ts";
import { contactStrip } from "../../media/contact-strip.ts";
import { signedToRgb } from "../../media/frames.ts";
import { createVideoWriter } from "../../media/write.ts";
import { loadPipeline } from "../../pipeline/pipeline.ts";
import { saveVideo } from "../../pipeline/save-video.ts";
import { seenToVideo } from "../../pipeline/seen-to-video.ts";
import { type RecipeEvent, runRecipe, type Showing } from "../../train/recipe/run-recipe.ts";
import { stepLine } from "../../train/run/progress.ts";
import { fileError } from "../../weights/file.ts";
import type { Command, Context } from "../command.ts";
import { byteSize, count } from "../numbers.ts";
import { type OptionTable, parseOptions } from "../options.ts";
import type { Terminal } from "../terminal.ts";

const options = {
  run: { kind: "text", value: "DIR", about: "folder of the run (runs/ and the recipe's name)" },
  resume: { kind: "flag", about: "go on with the run in that folder" },
  steps: { kind: "integer", about: "train at most so many steps now, then save and stop" },
} as const satisfies OptionTable;

export const train: Command = {
  name: "train",
  about: "Train a model from a recipe, only its VAE, or a LoRA (train vae|lora RECIPE.yaml)",
  positionals: ["[vae|lora]", "RECIPE.yaml"],
  options,
  run: async (args, context) => {
    const names = ["RECIPE.yaml", ...args.map(() => "[RECIPE.yaml]")];
    const { values, positionals } = parseOptions(args, options, names);
    const { only, file } = target(positionals);
    if (values.steps !== undefined && values.steps < 1)
      throw new ConfigError(`--steps must be 1 or more, got ${values.steps}`);
    const text = await readRecipe(file);
    const folder = values.run ?? join("runs", basename(file, extname(file)));
    const running = runRecipe(
      { file, text },
      {
        folder,
        resume: values.resume ?? false,
        only,
        maxSteps: values.steps,
        signal: context.signal,
        onEvent: teller(context.terminal, folder),
        show: showing(context),
      },
    );
    await untilSaved(running, context);
  },
};

function target(positionals: readonly string[]): { readonly only?: "vae" | "lora"; readonly file: string } {
  const [only, file, ...rest] = positionals;
  if (file === undefined && (only === "vae" || only === "lora"))
    throw new ConfigError(
      `the recipe is missing: train ${only} RECIPE.yaml; ./${only} is a file of that name`,
    );
  if (file === undefined) return { file: only };
  if (only !== "vae" && only !== "lora")
    throw new ConfigError(`train takes one recipe, or vae or lora before it; got ${positionals.join(" ")}`);
  if (rest.length > 0) throw new ConfigError(`train takes one recipe, got ${[file, ...rest].join(" and ")}`);
  return { only, file };
}

function readRecipe(file: string): Promise<string> {
  return readFile(file, "utf8").catch((cause) => {
    throw new ConfigError(fileError("read the recipe", file, cause).message, { cause });
  });
}

/** After Ctrl-C the process must not end before the run has saved; then it ends with the run's error. */
async function untilSaved(running: Promise<unknown>, { cleanups }: Context): Promise<void> {
  const saved = () =>
    running.then(
      () => {},
      () => {},
    );
  cleanups.add(saved);
  try {
    await running;
  } finally {
    cleanups.delete(saved);
  }
}

const SAY_EVERY_SECONDS = 10;

/** Tells people the numbers on stderr now and then, and programs every step on stdout. */
function teller(terminal: Terminal, folder: string): (event: RecipeEvent) => void {
  let steps = 0;
  let said = 0;
  const now = () => performance.now() / 1000;
  return (event) => {
    const { kind, ...rest } = event;
    terminal.emit({ event: kind, ...rest });
    switch (event.kind) {
      case "note":
        terminal.say(`note: ${event.text}`);
        break;
      case "memory":
        terminal.say(
          `${event.stage}: about ${byteSize(event.takes)} of memory, ${byteSize(event.free)} free`,
        );
        break;
      case "stage": {
        const { name, done, parameters } = event;
        steps = event.steps;
        terminal.say(`${name}: ${count(steps, "step")}, ${done} done; ${count(parameters, "trained value")}`);
        break;
      }
      case "encoding":
        terminal.progress(`encoding clip ${event.done}/${event.total}`);
        break;
      case "step": {
        const line = lineOf(event, steps);
        terminal.progress(line);
        if (now() - said >= SAY_EVERY_SECONDS) {
          terminal.say(line);
          said = now();
        }
        break;
      }
      case "validation":
        terminal.say(validationLine(event));
        break;
      case "sample":
        terminal.say(`sample: ${event.file}`);
        break;
      case "done":
        if (event.output !== null) terminal.print(event.output);
        else terminal.say(`${count(event.steps, "step")} done; go on with --resume --run ${folder}`);
    }
  };
}

function lineOf(event: Extract<RecipeEvent, { kind: "step" }>, steps: number): string {
  const { stage, stageStep, loss, gradientNorm, rate, share, bands, parts } = event;
  const line = stepLine({ step: stageStep, steps, loss, gradientNorm, rate, share }, event);
  const named = Object.entries(parts).map(([name, value]) => `${name} ${value.toPrecision(3)}`);
  const byNoise =
    bands === null ? [] : [`by noise ${bands.map((mean) => mean?.toFixed(2) ?? "-").join(" ")}`];
  return [`${stage}: ${line}`, ...named, ...byNoise].join("  ");
}

function validationLine({ step, loss, byTimestep }: Extract<RecipeEvent, { kind: "validation" }>): string {
  const byNoise = byTimestep.map(({ loss }) => loss.toFixed(3)).join(" ");
  return `held-out clips after step ${step}: loss ${loss.toFixed(4)}  by noise ${byNoise}`;
}

/** Sample clips in the run's folder. */
function showing({ signal }: Context): Showing {
  return {
    clip: async (base, { data, shape, fps }) => {
      const [, , height, width] = shape;
      const file = `${base}.webp`;
      const writer = await createVideoWriter(file, { width, height, fps });
      for (const frame of signedToRgb(data, { height, width })) await writer.write(frame);
      await writer.finish();
      return file;
    },
    samples: async (base, { folder, loras }, samples, settings) => {
      const { steps, guidance, seed, size, frames, droppedText } = settings;
      const unconditional = droppedText === "zeros" ? ("zeros" as const) : undefined;
      const pipeline = await loadPipeline(folder, { loras });
      const files: string[] = [];
      try {
        for (const [i, { prompt, seen }] of samples.entries()) {
          const file = `${base}-${i + 1}.webp`;
          const options = { prompt, steps, guidance, unconditional, seed, ...size, frames, signal };
          await saveVideo(seenToVideo(pipeline, options, seen), file);
          files.push(file);
        }
      } finally {
        await pipeline.close();
      }
      return files;
    },
    strip: contactStrip,
  };
}

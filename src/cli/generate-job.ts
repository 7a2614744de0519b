/** @file Makes the clips of a job one after the other, and saves how far it is where asked for. */
import { ConfigError, ShapeError, WeightsError } from "../errors.ts";
import { STDOUT } from "../media/fragments.ts";
import { parseTransformerConfig } from "../models/transformer/config.ts";
import { clipsOf, readPrompts } from "../pipeline/batch.ts";
import { openComponent } from "../pipeline/checkpoint.ts";
import type { PipelineEvent } from "../pipeline/events.ts";
import type { GenerateOptions } from "../pipeline/generate-options.ts";
import { loadPipeline, type Pipeline } from "../pipeline/pipeline.ts";
import { type Look, type PreviewEvent, withPreviews } from "../pipeline/preview.ts";
import { readMemory } from "../runtime/memory.ts";
import { announce } from "./announce.ts";
import { type ClipPlace, ClipSink, outputOf } from "./clip-sink.ts";
import type { Context } from "./command.ts";
import { enhancedPrompts } from "./enhance-options.ts";
import { engineOptions, type GenerateValues, requestOf } from "./generate-table.ts";
import { eventsOf } from "./generation-modes.ts";
import { parseLoras } from "./lora-option.ts";
import { modelFolder } from "./model-folder.ts";
import { duration, mebibytes } from "./numbers.ts";
import { planEvent, refusal, shortLine } from "./plan-report.ts";
import { noteGain, precisionOf, quantizeHooks } from "./precision-option.ts";
import { previewOf } from "./preview-file.ts";
import { readPromptStates } from "./prompt-states-option.ts";
import { type Job, RunFolder } from "./run-folder.ts";
import { isPlanned, planJob } from "./run-planning.ts";
import { readLatents } from "./tensor-files.ts";
import { Progress, type Terminal } from "./terminal.ts";

/** The terminal of a job whose video may be on standard output, where nothing else may stand then. */
function besideVideo({ output }: GenerateValues, terminal: Terminal): Terminal {
  if (output !== STDOUT) return terminal;
  if (terminal.isJson)
    throw new ConfigError("--json and the video (-o -) cannot both go to standard output; name a file");
  return { ...terminal, print: () => {} };
}

/** Does a job that has been checked, or what is left of it. */
export async function runJob(asked: Job, around: Context, resumed: RunFolder | null = null): Promise<void> {
  const context = { ...around, terminal: besideVideo(asked.values, around.terminal) };
  const model = await modelFolder(asked.values, context);
  const job = await fittingJob(await enhancedJob(asked, model, context), model, context, resumed);
  const dir = job.values["checkpoint-dir"];
  const folder = resumed ?? (dir ? await RunFolder.create(dir, await settledJob(job, model)) : null);
  const loras = parseLoras(job.values.lora);
  const precision = precisionOf(job.values);
  noteGain(job.values, context);
  const { decoder } = job.values;
  const quantizing = quantizeHooks(context);
  const options = { ...engineOptions(job.values), precision, quantizing, loras, decoder };
  const pipeline = await loadPipeline(model, options);
  try {
    await makeClips(pipeline, job, folder, context);
  } finally {
    await pipeline.close();
  }
}

/**
 * The job as it is saved: with the folder and not the name on the hub, which may come to mean other weights, and with the
 * checkpoint's own guidance, which may come to be another.
 */
async function settledJob(job: Job, model: string): Promise<Job> {
  const { config } = await openComponent(model, "transformer", parseTransformerConfig);
  const { guidance = config.guidance } = job.values;
  return { ...job, values: { ...job.values, model, guidance } };
}

/**
 * The job as it fits into memory: with tiling where it fits only so. A job that goes on stays as it was begun.
 * @throws ConfigError for a job that cannot fit, with the nearest that can
 */
async function fittingJob(
  job: Job,
  model: string,
  { terminal }: Context,
  resumed: RunFolder | null,
): Promise<Job> {
  if (!isPlanned(job.values)) return job;
  const planned = await planJob(job, model, { mayTile: resumed === null }).catch((error: Error) => {
    // What has no plan is no run either, and the run says why with more to go by.
    if ([ConfigError, ShapeError, WeightsError].some((kind) => error instanceof kind)) return null;
    throw error;
  });
  if (planned === null) return job;
  const { fitting, machine } = planned;
  if (!fitting.fits) throw new ConfigError(refusal(fitting, machine.room));
  terminal.say(shortLine(fitting, machine));
  terminal.emit(planEvent(fitting, machine));
  if (!fitting.choseTiling) return job;
  terminal.say("the frames are decoded in tiles (--tiling), because whole ones do not fit into memory");
  return { ...job, values: { ...job.values, tiling: true } };
}

/** The job with its prompts as they were enhanced, so that a resumed one has the same. */
async function enhancedJob({ values, prompts, seeds }: Job, model: string, context: Context): Promise<Job> {
  const enhanced = await enhancedPrompts(prompts, values, model, context);
  return { values: { ...values, enhance: undefined, "enhance-model": undefined }, prompts: enhanced, seeds };
}

async function makeClips(
  pipeline: Pipeline,
  job: Job,
  folder: RunFolder | null,
  context: Context,
): Promise<void> {
  const { values, prompts, seeds } = job;
  const { signal } = context;
  const latents = values.latents ? await readLatents(values.latents) : undefined;
  const request = requestOf(values);
  const clips = clipsOf({ ...request, prompt: prompts, seed: seeds, latents, signal });
  const left = clips.slice(folder?.done ?? 0);
  const { "prompt-states": states } = values;
  const { config } = pipeline.checkpoint.transformer;
  const given = states === undefined ? undefined : await readPromptStates(states, request, config);
  const statesOf = given === undefined ? await readPrompts(pipeline, left) : () => given;
  for (const [i, clipRequest] of left.entries()) {
    const clip = clips.length - left.length + i;
    const saved = await folder?.state();
    const place = { clip, clips: clips.length, seed: Number(clipRequest.seed) };
    const going = { resume: saved?.state, cacheState: saved?.cache as GenerateOptions["cacheState"] };
    const options = { ...clipRequest, ...going, promptStates: statesOf?.(clipRequest) };
    await makeClip(pipeline, { values, options, place }, folder, context);
    await folder?.clipDone();
  }
}

type ClipJob = {
  readonly values: GenerateValues;
  readonly options: GenerateOptions;
  readonly place: ClipPlace;
};

async function makeClip(
  pipeline: Pipeline,
  { values, options, place }: ClipJob,
  folder: RunFolder | null,
  context: Context,
): Promise<void> {
  const { cleanups } = context;
  const terminal = numberedTerminal(context.terminal, place);
  const progress = new Progress(terminal);
  const request: GenerateOptions = { ...options, onSegment: (event) => progress.segment(event) };
  const sink = new ClipSink(values, place);
  const preview = await previewOf(pipeline, values, place, { ...context, terminal });
  const abort = () => sink.abort();
  cleanups.add(abort);
  try {
    for await (const event of previewed(eventsOf(pipeline, request, values), preview?.look)) {
      if (event.kind === "preview") {
        await preview?.file.show(event.frames);
        terminal.emit({ event: "preview", step: event.step, output: preview?.file.file });
        continue;
      }
      if (event.kind === "started") preview?.file.begin(event.fps);
      announce(event, request.prompt, progress, terminal);
      await sink.take(event);
      if (event.kind === "step" && folder && isSaved(event, values))
        await folder.save({ state: event.state, cache: await event.cache?.save() });
      if (event.kind === "done") await finish(sink, event.seconds, place, terminal);
    }
  } catch (error) {
    await sink.abort();
    throw error;
  } finally {
    cleanups.delete(abort);
  }
}

/** Events with previews where there is a look for them. */
function previewed(
  events: AsyncIterable<PipelineEvent>,
  look: Look | undefined,
): AsyncIterable<PipelineEvent | PreviewEvent> {
  return look ? withPreviews(events, look) : events;
}

function isSaved(
  { step, steps }: { readonly step: number; readonly steps: number },
  { "checkpoint-every": every = 1 }: GenerateValues,
): boolean {
  return step % every === 0 || step === steps;
}

async function finish(
  sink: ClipSink,
  seconds: number,
  { seed }: ClipPlace,
  terminal: Context["terminal"],
): Promise<void> {
  await sink.finish();
  const { output } = sink;
  const peakRssMiB = mebibytes(readMemory().peak);
  terminal.say(`done in ${duration(seconds)}, at most ${peakRssMiB} MiB of memory, seed ${seed}`);
  terminal.print(output);
  terminal.emit({ event: "done", output, seed, seconds, peakRssMiB });
}

/** Says of several clips which one an event belongs to, from 1. */
function numberedTerminal(terminal: Context["terminal"], { clip, clips }: ClipPlace): Context["terminal"] {
  if (clips === 1) return terminal;
  terminal.say(`clip ${clip + 1} of ${clips}`);
  return { ...terminal, emit: (event) => terminal.emit({ ...event, clip: clip + 1, clips }) };
}

/** The videos that a job makes. */
export function outputsOf({ values, prompts, seeds }: Job): string[] {
  const clips = prompts.length * seeds.length;
  return Array.from({ length: clips }, (_, clip) =>
    outputOf(values, { clip, clips, seed: seeds[clip % seeds.length] }),
  );
}

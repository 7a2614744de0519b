/** @file `cogvideox generate`: a prompt becomes a video file. */
import { randomInt } from "node:crypto";
import { resolve } from "node:path";
import { ConfigError } from "../../errors.ts";
import { formatOf } from "../../media/formats.ts";
import type { PipelineEvent } from "../../pipeline/events.ts";
import type { GenerateOptions } from "../../pipeline/generate-options.ts";
import { loadPipeline, type Pipeline } from "../../pipeline/pipeline.ts";
import { FrameWriter } from "../../pipeline/save-video.ts";
import { readMemory } from "../../runtime/memory.ts";
import { devices } from "../../runtime/protocol.ts";
import { type Context, command } from "../command.ts";
import { checkedMode, eventsOf, sourceOptions } from "../generation-modes.ts";
import { loraOption, parseLoras } from "../lora-option.ts";
import { modelFolder, modelOption } from "../model-folder.ts";
import type { OptionTable, OptionValues } from "../options.ts";
import { stgOf, stgOptions } from "../stg-options.ts";
import { FramesFile, readLatents, requireWritable, writeLatents } from "../tensor-files.ts";
import { duration, Progress } from "../terminal.ts";

const options = {
  model: modelOption,
  lora: loraOption,
  output: {
    kind: "text",
    short: "o",
    value: "FILE",
    about: "video to write: .mp4, .webm, .gif, .webp, or a folder ending in -png",
  },
  negative: { kind: "text", about: "what the video should stay away from" },
  ...sourceOptions,
  width: { kind: "integer", about: "pixels, a multiple of 16 (the model's own size)" },
  height: { kind: "integer", about: "pixels, a multiple of 16 (the model's own size)" },
  frames: { kind: "integer", about: "8k + 1 frames (the model's own length)" },
  fps: { kind: "number", about: "frames per second of the file (8, or 16 for CogVideoX 1.5)" },
  steps: { kind: "integer", about: "denoising steps, 1 to 1000 (50); 0 decodes --latents" },
  guidance: { kind: "number", about: "guidance scale (6); 1 switches it off" },
  "dynamic-cfg": { kind: "flag", about: "let the guidance weight follow the timestep" },
  ...stgOptions,
  scheduler: { kind: "text", choices: ["ddim", "dpm"], about: "sampler (the checkpoint's own)" },
  seed: { kind: "integer", about: "seed of the noise (random)" },
  tiling: {
    kind: "flag",
    about: "encode and decode in overlapping tiles: less memory, slightly different pixels",
  },
  precision: { kind: "text", choices: ["fp32"], about: "arithmetic (fp32); weights stay as they are stored" },
  device: { kind: "text", choices: devices, about: "where to compute (cpu)" },
  threads: { kind: "integer", about: "threads for one operator (all cores)" },
  latents: { kind: "text", value: "FILE", about: "start from the latents in this safetensors file" },
  "save-latents": { kind: "text", value: "FILE", about: "write the final latents before decoding" },
  "save-frames": { kind: "text", value: "FILE", about: "write the frames as float32 [F, H, W, 3] in [0, 1]" },
} as const satisfies OptionTable;

type Values = OptionValues<typeof options>;

export const generate = command({
  name: "generate",
  about: "Make a video from a prompt, and from an image or another video",
  positionals: ["[PROMPT]"],
  options,
  run: async (values, [prompt = ""], context) => {
    // What can be refused at once is, before gigabytes are downloaded.
    const engine = engineOptions(values);
    checkedMode(values, values);
    stgOf(values);
    if (values.output !== undefined) formatOf(values.output);
    const loras = parseLoras(values.lora);
    const pipeline = await loadPipeline(await modelFolder(values, context), { ...engine, loras });
    try {
      await run(pipeline, prompt, values, context);
    } finally {
      await pipeline.close();
    }
  },
});

async function run(pipeline: Pipeline, prompt: string, values: Values, context: Context): Promise<void> {
  const { terminal, signal, cleanups } = context;
  const progress = new Progress(terminal);
  const latents = values.latents ? await readLatents(values.latents) : undefined;
  const request: GenerateOptions = {
    prompt,
    negativePrompt: values.negative,
    width: values.width,
    height: values.height,
    frames: values.frames,
    steps: values.steps,
    guidance: values.guidance,
    dynamicGuidance: values["dynamic-cfg"],
    stg: stgOf(values),
    scheduler: values.scheduler as "ddim" | "dpm" | undefined,
    seed: values.seed ?? randomInt(2 ** 32),
    latents,
    tiling: values.tiling,
    signal,
    onSegment: (event) => progress.segment(event),
  };
  const sink = new ClipSink(request, values);
  const abort = () => sink.abort();
  cleanups.add(abort);
  try {
    for await (const event of eventsOf(pipeline, request, values)) {
      if (event.kind === "started") await sink.open(event);
      announce(event, request, progress, context);
      if (event.kind === "latents" && values["save-latents"])
        await writeLatents(values["save-latents"], event.latents);
      if (event.kind === "inverted" && values["save-inverted"])
        await writeLatents(values["save-inverted"], event.latents);
      if (event.kind === "frames") await sink.write(event);
      if (event.kind === "done") await finish(sink, event.seconds, request, context);
    }
  } catch (error) {
    await sink.abort();
    throw error;
  } finally {
    cleanups.delete(abort);
  }
}

const fitted = {
  crop: "scaled and cropped to the clip's size",
  pad: "scaled to the clip's size, black beside it",
  stretch: "stretched to the clip's size",
} as const;

/** Tells people and programs what happened. */
function announce(
  event: PipelineEvent,
  { prompt }: GenerateOptions,
  progress: Progress,
  { terminal }: Context,
): void {
  switch (event.kind) {
    case "encoded":
      if (event.truncated !== null)
        terminal.say(
          `warning: the prompt is too long for this model; this part is ignored: ${event.truncated}`,
        );
      terminal.emit({ event: "encoded", prompt, truncated: event.truncated, seconds: event.seconds });
      break;
    case "source": {
      const { what, width, height, frames, fit } = event;
      const shape = fit === null ? "as it is" : fitted[fit];
      const number = frames === 1 ? "" : `, ${frames} frames`;
      terminal.say(`${what}: ${width}x${height}${number}, ${shape}`);
      terminal.emit({ event: "source", what, width, height, frames, fit });
      break;
    }
    case "step": {
      const { step, steps, timestep, seconds } = event;
      progress.stepDone(step, steps, seconds);
      terminal.emit({ event: "step", step, steps, timestep, seconds });
      break;
    }
    case "frames":
      terminal.emit({
        event: "frames",
        start: event.start,
        count: event.frames.shape[0],
        total: event.total,
      });
  }
}

async function finish(
  sink: ClipSink,
  seconds: number,
  { seed }: GenerateOptions,
  { terminal }: Context,
): Promise<void> {
  const output = await sink.finish();
  const peakRssMiB = Math.round(readMemory().peak / 2 ** 20);
  terminal.say(`done in ${duration(seconds)}, at most ${peakRssMiB} MiB of memory, seed ${seed}`);
  terminal.print(output);
  terminal.emit({ event: "done", output, seed, seconds, peakRssMiB });
}

/** Where decoded frames go: the video file and, if asked for, a file of floats. Nothing is left behind by `abort`. */
class ClipSink {
  private readonly output: string;
  private readonly video: FrameWriter;
  private readonly framesFile: string | undefined;
  private readonly extraFiles: readonly string[];
  private floats: FramesFile | null = null;

  constructor({ seed }: GenerateOptions, values: Values) {
    this.output = resolve(values.output ?? `video-${seed}.mp4`);
    formatOf(values.output ?? this.output);
    this.video = new FrameWriter(this.output, { fps: values.fps });
    this.framesFile = values["save-frames"];
    const extra = [values["save-frames"], values["save-latents"], values["save-inverted"]];
    this.extraFiles = extra.filter((file) => file !== undefined);
  }

  /** Everything that will be written is opened or tried now; hours of work should not end at a folder's permissions. */
  async open(started: Extract<PipelineEvent, { kind: "started" }>): Promise<void> {
    for (const file of this.extraFiles) await requireWritable(file);
    await this.video.open(started);
  }

  async write({ frames, total }: Extract<PipelineEvent, { kind: "frames" }>): Promise<void> {
    await this.video.write(frames);
    if (this.framesFile === undefined) return;
    this.floats ??= await FramesFile.create(this.framesFile, [total, ...frames.shape.slice(1)]);
    await this.floats.append(frames.data as Float32Array);
  }

  async finish(): Promise<string> {
    await this.floats?.close();
    await this.video.finish();
    return this.output;
  }

  async abort(): Promise<void> {
    await this.floats?.abort();
    await this.video.abort();
  }
}

/** Engine options of the commands that have --device and --threads. */
export function engineOptions({ device, threads }: { readonly device?: string; readonly threads?: number }) {
  if (threads !== undefined && (threads < 1 || threads > 1024))
    throw new ConfigError(`--threads must be 1 to 1024, got ${threads}`);
  return { device: device as (typeof devices)[number] | undefined, threads };
}

/** @file `cogvideox forward`: one part of a checkpoint, tensors from a file in, tensors to a file out. */
import { ConfigError } from "../../errors.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { openComponent } from "../../pipeline/checkpoint.ts";
import { samplesOf } from "../../pipeline/clip-layout.ts";
import { Denoiser } from "../../pipeline/denoiser.ts";
import { requireArithmetic, weightsIn } from "../../pipeline/precision.ts";
import { loadTokenizer, tokenize } from "../../pipeline/prompt.ts";
import { TextEncoder } from "../../pipeline/text-encoder.ts";
import { VideoDecoder } from "../../pipeline/video-decoder.ts";
import { VideoEncoder } from "../../pipeline/video-encoder.ts";
import { Engine } from "../../runtime/engine.ts";
import { readMemory } from "../../runtime/memory.ts";
import { devices, type HostTensor } from "../../runtime/protocol.ts";
import { writeSafetensors } from "../../weights/write.ts";
import { type Context, command } from "../command.ts";
import { broadcast, type Inputs, need, needFloats } from "../forward-inputs.ts";
import { runAddNoise, runSampler, samplerOptions } from "../forward-scheduler.ts";
import { engineOptions } from "../generate-table.ts";
import { modelFolder, modelOption } from "../model-folder.ts";
import { duration, mebibytes } from "../numbers.ts";
import type { OptionTable, OptionValues } from "../options.ts";
import { noteGain, precisionOf, precisionOption, quantizeHooks } from "../precision-option.ts";
import { NEGATIVE, PROMPT } from "../prompt-states-option.ts";
import { readTensors, requireWritable } from "../tensor-files.ts";
import { tilingOf, tilingOptions } from "../tiling-options.ts";

const options = {
  model: modelOption,
  inputs: { kind: "text", value: "FILE", about: "safetensors file with the model's inputs" },
  output: { kind: "text", short: "o", value: "FILE", about: "safetensors file to write" },
  prompt: { kind: "text", about: "text-encoder: a prompt instead of input_ids" },
  negative: {
    kind: "text",
    about: "text-encoder: with --prompt, what to stay away from; for --prompt-states",
  },
  ...tilingOptions,
  ...samplerOptions,
  precision: precisionOption,
  device: { kind: "text", choices: devices, about: "where to compute (cpu)" },
  threads: { kind: "integer", about: "threads for one operator (all cores)" },
} as const satisfies OptionTable;

type Job = {
  readonly engine: Engine;
  readonly folder: string;
  readonly inputs: Inputs;
  readonly values: OptionValues<typeof options>;
  readonly context: Context;
};

/** Models by the name they have here, with what they return. */
const models: Readonly<Record<string, (job: Job) => Promise<Record<string, HostTensor>>>> = {
  transformer: runTransformer,
  "vae-encode": runEncoder,
  "vae-decode": runDecoder,
  "text-encoder": runTextEncoder,
};

/** Parts that are arithmetic and need no engine. */
const schedulers: Readonly<Record<string, typeof runSampler>> = {
  sampler: runSampler,
  "add-noise": runAddNoise,
};

const names = [...Object.keys(models), ...Object.keys(schedulers)];

/** Options that are about some of the parts. */
const ownOptions: readonly (readonly [
  options: readonly (keyof OptionValues<typeof options>)[],
  parts: RegExp,
])[] = [
  [["precision"], /^transformer$/],
  [["prompt", "negative"], /^text-encoder$/],
  [Object.keys(tilingOptions) as (keyof typeof tilingOptions)[], /^vae-/],
  [Object.keys(samplerOptions) as (keyof typeof samplerOptions)[], /^sampler$/],
];

export const forward = command({
  name: "forward",
  about: `Run one part of a model on tensors from a file (${names.join(", ")})`,
  positionals: ["PART"],
  options,
  run: async (values, [name], context) => {
    if (!names.includes(name)) throw new ConfigError(`unknown part ${name}; known are ${names.join(", ")}`);
    if (values.output === undefined) throw new ConfigError("--output is missing; name the file to write");
    requireOwn(name, values);
    await requireWritable(values.output);
    const folder = await modelFolder(values, context);
    const inputs = values.inputs ? await readTensors(values.inputs) : new Map<string, HostTensor>();
    const job = { folder, inputs, values, context };
    const run = () => (name in models ? onEngine(models[name], job) : schedulers[name](job));
    await write(values.output, await timed(context, run));
  },
});

async function onEngine(model: (typeof models)[string], job: Omit<Job, "engine">) {
  const engine = new Engine(engineOptions(job.values));
  try {
    return await model({ ...job, engine });
  } finally {
    await engine.close();
  }
}

/** @throws ConfigError for options of another part, and for sizes and settings that are none */
function requireOwn(name: string, values: OptionValues<typeof options>): void {
  for (const [own, of] of ownOptions) {
    const given = own.find((option) => values[option] !== undefined);
    if (given === undefined || of.test(name)) continue;
    const others = names.filter((part) => of.test(part));
    throw new ConfigError(`--${given} is for ${others.join(" and ")} alone; leave it out for ${name}`);
  }
  precisionOf(values);
  tilingOf(values);
  if (values.negative !== undefined && values.prompt === undefined)
    throw new ConfigError("--negative needs --prompt");
}

async function timed<T>({ terminal }: Context, run: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await run();
  const seconds = (performance.now() - start) / 1000;
  const peakRssMiB = mebibytes(readMemory().peak);
  terminal.say(`done in ${duration(seconds)}, at most ${peakRssMiB} MiB of memory`);
  terminal.emit({ event: "done", seconds, peakRssMiB });
  return result;
}

async function runTransformer(job: Job): Promise<Record<string, HostTensor>> {
  const { engine, folder, inputs, values, context } = job;
  const { signal } = context;
  const { config, weights: stored } = await openComponent(folder, "transformer", parseTransformerConfig);
  const precision = precisionOf(values);
  noteGain(values, context);
  await requireArithmetic(engine, precision);
  const weights = await weightsIn(precision, stored, quantizeHooks(context));
  const latents = needFloats(inputs, "hidden_states", 5);
  const text = needFloats(inputs, "encoder_hidden_states", 3);
  const [batch, frames, , height, width] = latents.shape;
  const denoiser = new Denoiser(engine, config, weights, {
    batch,
    frames,
    height,
    width,
    textLength: text.shape[1],
  });
  const timestep = broadcast(inputs, "timestep", batch);
  const ofs = inputs.has("ofs") ? broadcast(inputs, "ofs", batch) : undefined;
  return { sample: await denoiser.predict({ latents, text, timestep, ofs }, { signal }) };
}

async function runEncoder(job: Job): Promise<Record<string, HostTensor>> {
  const encoder = await openVae(job, VideoEncoder);
  return {
    moments: await encoder.encode(needFloats(job.inputs, "sample", 5), { signal: job.context.signal }),
  };
}

async function runDecoder(job: Job): Promise<Record<string, HostTensor>> {
  const decoder = await openVae(job, VideoDecoder);
  return {
    sample: await decoder.decode(needFloats(job.inputs, "latents", 5), { signal: job.context.signal }),
  };
}

/** One half of the VAE; encoder and decoder are made from the same four things. */
async function openVae<T>(
  { engine, folder, values }: Job,
  Half: new (...args: ConstructorParameters<typeof VideoDecoder>) => T,
): Promise<T> {
  const { config, weights } = await openComponent(folder, "vae", parseVaeConfig);
  return new Half(engine, config, weights, { tiling: tilingOf(values) ?? false });
}

async function runTextEncoder(job: Job): Promise<Record<string, HostTensor>> {
  const { engine, folder, inputs, values, context } = job;
  const { config, weights } = await openComponent(folder, "text_encoder", parseT5Config);
  // In the order of a run, so that the states are the same to the last bit.
  const texts = [values.negative, values.prompt].filter((text) => text !== undefined);
  const isTokenized = texts.length === 0;
  const ids = isTokenized ? need(inputs, "input_ids", 2) : await idsOf(folder, texts);
  const [batch, length] = ids.shape;
  const encoder = new TextEncoder(engine, config, weights, { batch, length }, { once: true });
  const states = await encoder.encode(ids, { signal: context.signal });
  if (isTokenized) return { last_hidden_state: states };
  if (values.negative === undefined) return { [PROMPT]: states };
  const [negative, positive] = samplesOf(states);
  return { [PROMPT]: positive, [NEGATIVE]: negative };
}

async function idsOf(folder: string, texts: readonly string[]): Promise<HostTensor> {
  const { config } = await openComponent(folder, "transformer", parseTransformerConfig);
  return tokenize(await loadTokenizer(folder), texts, config.maxTextLength).ids;
}

async function write(file: string, outputs: Record<string, HostTensor>): Promise<void> {
  const tensors = Object.entries(outputs).map(([name, { shape, data }]) => [
    name,
    { dtype: "F32" as const, shape, data },
  ]);
  await writeSafetensors(file, Object.fromEntries(tensors));
}

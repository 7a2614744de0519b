/** @file `cogvideox forward`: one model, tensors from a file in, tensors to a file out. */
import { ConfigError } from "../../errors.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { openComponent } from "../../pipeline/checkpoint.ts";
import { Denoiser } from "../../pipeline/denoiser.ts";
import { weightsIn } from "../../pipeline/precision.ts";
import { loadTokenizer, tokenize } from "../../pipeline/prompt.ts";
import { TextEncoder } from "../../pipeline/text-encoder.ts";
import { VideoDecoder } from "../../pipeline/video-decoder.ts";
import { VideoEncoder } from "../../pipeline/video-encoder.ts";
import { Engine } from "../../runtime/engine.ts";
import { readMemory } from "../../runtime/memory.ts";
import { devices, type HostTensor } from "../../runtime/protocol.ts";
import { writeSafetensors } from "../../weights/write.ts";
import { type Context, command } from "../command.ts";
import { engineOptions } from "../generate-table.ts";
import { modelFolder, modelOption } from "../model-folder.ts";
import type { OptionTable, OptionValues } from "../options.ts";
import { precisionOf, precisionOption, quantizeHooks } from "../precision-option.ts";
import { readTensors } from "../tensor-files.ts";
import { duration } from "../terminal.ts";

const options = {
  model: modelOption,
  inputs: { kind: "text", value: "FILE", about: "safetensors file with the model's inputs" },
  output: { kind: "text", short: "o", value: "FILE", about: "safetensors file to write" },
  prompt: { kind: "text", about: "text-encoder: a prompt instead of input_ids" },
  tiling: { kind: "flag", about: "vae-encode, vae-decode: work in overlapping tiles" },
  precision: precisionOption,
  device: { kind: "text", choices: devices, about: "where to compute (cpu)" },
  threads: { kind: "integer", about: "threads for one operator (all cores)" },
} as const satisfies OptionTable;

type Job = {
  readonly engine: Engine;
  readonly folder: string;
  readonly inputs: ReadonlyMap<string, HostTensor>;
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

export const forward = command({
  name: "forward",
  about: `Run one model on tensors from a file (${Object.keys(models).join(", ")})`,
  positionals: ["MODEL"],
  options,
  run: async (values, [name], context) => {
    const model = models[name];
    if (model === undefined)
      throw new ConfigError(`unknown model ${name}; known are ${Object.keys(models).join(", ")}`);
    if (values.output === undefined) throw new ConfigError("--output is missing; name the file to write");
    if (precisionOf(values) !== undefined && name !== "transformer")
      throw new ConfigError(`--precision is for the transformer alone; leave it out for ${name}`);
    const folder = await modelFolder(values, context);
    const inputs = values.inputs ? await readTensors(values.inputs) : new Map<string, HostTensor>();
    const engine = new Engine(engineOptions(values));
    try {
      await write(
        values.output,
        await timed(context, () => model({ engine, folder, inputs, values, context })),
      );
    } finally {
      await engine.close();
    }
  },
});

async function timed<T>({ terminal }: Context, run: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await run();
  const seconds = (performance.now() - start) / 1000;
  const peakRssMiB = Math.round(readMemory().peak / 2 ** 20);
  terminal.say(`done in ${duration(seconds)}, at most ${peakRssMiB} MiB of memory`);
  terminal.emit({ event: "done", seconds, peakRssMiB });
  return result;
}

async function runTransformer(job: Job): Promise<Record<string, HostTensor>> {
  const { engine, folder, inputs, values, context } = job;
  const { signal } = context;
  const { config, weights: stored } = await openComponent(folder, "transformer", parseTransformerConfig);
  const weights = await weightsIn(precisionOf(values), stored, quantizeHooks(context));
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
  const timestep = spread(inputs, "timestep", batch);
  const ofs = inputs.has("ofs") ? spread(inputs, "ofs", batch) : undefined;
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
  return new Half(engine, config, weights, { tiling: values.tiling ?? false });
}

async function runTextEncoder(job: Job): Promise<Record<string, HostTensor>> {
  const { engine, folder, inputs, values, context } = job;
  const { config, weights } = await openComponent(folder, "text_encoder", parseT5Config);
  const ids =
    values.prompt === undefined ? need(inputs, "input_ids", 2) : await promptIds(folder, values.prompt);
  const [batch, length] = ids.shape;
  const encoder = new TextEncoder(engine, config, weights, { batch, length }, { once: true });
  return { last_hidden_state: await encoder.encode(ids, { signal: context.signal }) };
}

async function promptIds(folder: string, prompt: string): Promise<HostTensor> {
  const { config } = await openComponent(folder, "transformer", parseTransformerConfig);
  return tokenize(await loadTokenizer(folder), [prompt], config.maxTextLength).ids;
}

/** An input by name. @throws ConfigError naming what is there when it is missing or of another rank */
function need(inputs: ReadonlyMap<string, HostTensor>, name: string, rank: number): HostTensor {
  const tensor = inputs.get(name);
  const given = [...inputs.keys()].join(", ") || "no tensors";
  if (tensor === undefined) throw new ConfigError(`the input ${name} is missing; --inputs has ${given}`);
  if (tensor.shape.length !== rank)
    throw new ConfigError(`the input ${name} must have ${rank} axes, got [${tensor.shape.join(", ")}]`);
  return tensor;
}

/** As `need`, for what the models compute with. */
function needFloats(inputs: ReadonlyMap<string, HostTensor>, name: string, rank: number): HostTensor {
  const tensor = need(inputs, name, rank);
  if (tensor.dtype !== "f32") throw new ConfigError(`the input ${name} holds integers; floats are needed`);
  return tensor;
}

/** One value per sample: as given, or the only one repeated. @throws ConfigError for another number of them */
function spread(inputs: ReadonlyMap<string, HostTensor>, name: string, batch: number): number[] {
  const values = Array.from(need(inputs, name, 1).data as ArrayLike<number>, Number);
  if (values.length === 1) return Array(batch).fill(values[0]);
  if (values.length === batch) return values;
  throw new ConfigError(
    `the input ${name} must have 1 value or ${batch}, one a sample, got ${values.length}`,
  );
}

async function write(file: string, outputs: Record<string, HostTensor>): Promise<void> {
  const tensors = Object.entries(outputs).map(([name, { shape, data }]) => [
    name,
    { dtype: "F32" as const, shape, data },
  ]);
  await writeSafetensors(file, Object.fromEntries(tensors));
}

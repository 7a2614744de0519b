/** @file `cogvideox convert`: weights from one layout or number format to another, LoRAs fused in on the way. */
import { constants } from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ConfigError, WeightsError } from "../../errors.ts";
import { type ConversionPlan, planConversion } from "../../weights/convert/plan.ts";
import { openSource, recognize, type WeightSource } from "../../weights/convert/source.ts";
import { type Component, components, type Layout, layouts } from "../../weights/convert/table.ts";
import { type FloatDType, writePlan } from "../../weights/convert/write-plan.ts";
import { exists } from "../../weights/file.ts";
import { checkAdapter, readLora } from "../../weights/lora/adapter.ts";
import { fuseInto, type ScaledAdapter } from "../../weights/lora/fuse.ts";
import { planLora } from "../../weights/lora/plan.ts";
import { loraFileName } from "../../weights/lora/write.ts";
import { type Quantization, quantizations } from "../../weights/quantize/format.ts";
import { type Context, command } from "../command.ts";
import { loraOption, parseLoras } from "../lora-option.ts";
import { byteSize, count } from "../numbers.ts";
import type { OptionTable, OptionValues } from "../options.ts";

const dtypes: Readonly<Record<string, FloatDType>> = { bf16: "BF16", f16: "F16", f32: "F32" };

const options = {
  to: { kind: "text", choices: layouts, about: "names and shapes of the result (diffusers)" },
  component: { kind: "text", choices: components, about: "what is in the file (told from its names)" },
  dtype: { kind: "text", choices: Object.keys(dtypes), about: "number format of the result (as it is)" },
  quantize: {
    kind: "text",
    choices: quantizations,
    about: "store the matrices of a transformer's blocks in 8 or 4 bits, for generate to map",
  },
  "fuse-lora": { ...loraOption, about: "LoRA to add to the weights; scale -1 takes it away; several add up" },
  alpha: { kind: "number", about: "alpha of a LoRA (what its file says, else the rank, or 1 from SAT)" },
  "dry-run": { kind: "flag", about: "write nothing; list what fits and what does not" },
} as const satisfies OptionTable;

type Values = OptionValues<typeof options>;

export const convert = command({
  name: "convert",
  about: "Convert a transformer, a VAE or a LoRA between diffusers and SAT, or to another number format",
  positionals: ["IN", "OUT"],
  options,
  run: async (values, [input, output], context) => {
    const job = await openJob(input, values);
    describePlan(job.plan, context);
    if (values["dry-run"]) {
      if (isFaulty(job.plan)) context.fail();
      return;
    }
    refuseFaults(job);
    await write(job, await placeFor(output, job), values, context);
  },
});

type Job = {
  readonly source: WeightSource;
  readonly plan: ConversionPlan;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly loras: readonly ScaledAdapter[];
};

async function openJob(input: string, values: Values): Promise<Job> {
  // The option's choices are the components and the layouts.
  const asked = values.component as Component | undefined;
  const to = (values.to as Layout | undefined) ?? "diffusers";
  const source = await openSource(input, asked);
  const { component, layout } = recognize(source, asked);
  if (component === "lora") {
    if (values.quantize) throw new ConfigError("--quantize is for a transformer, and this is a LoRA");
    if (values["fuse-lora"]) throw new ConfigError("--fuse-lora adds to a transformer, and this is a LoRA");
    return { source, loras: [], ...planLora(await readLora(input, { alpha: values.alpha }), layout, to) };
  }
  const plan = planConversion(source.tensors, component, layout, to);
  if (values.quantize && (component !== "transformer" || to !== "diffusers"))
    throw new ConfigError(
      `--quantize is for a transformer in the layout of diffusers, not for a ${component} in that of ${to}`,
    );
  return { source, plan, loras: await openLoras(values, plan) };
}

async function openLoras(
  values: Values,
  { component, to, tensors }: ConversionPlan,
): Promise<ScaledAdapter[]> {
  const requests = parseLoras(values["fuse-lora"]);
  if (requests.length === 0) return [];
  if (component !== "transformer" || to !== "diffusers")
    throw new ConfigError(
      `--fuse-lora adds to a transformer in the layout of diffusers, not to a ${component} in that of ${to}; ` +
        "fuse first and convert then",
    );
  const shapes = new Map(tensors.map(({ name, shape }) => [name, shape]));
  const loras: ScaledAdapter[] = [];
  for (const { file, scale } of requests) {
    const adapter = await readLora(file, { alpha: values.alpha });
    checkAdapter(adapter, shapes);
    loras.push({ adapter, scale });
  }
  return loras;
}

function describePlan(plan: ConversionPlan, { terminal }: Context): void {
  const { component, from, to, tensors, dropped, unmatched, missing } = plan;
  terminal.print(
    `${component}, ${from} to ${to}: ${count(tensors.length, "tensor")}, ${byteSize(bytesOf(plan))}`,
  );
  for (const why of new Set(dropped.map((drop) => drop.why))) {
    const names = dropped.filter((drop) => drop.why === why).map(({ name }) => name);
    const first = names.slice(0, 2).join(", ");
    terminal.print(
      `left out, ${why}: ${count(names.length, "tensor")} (${first}${names.length > 2 ? ", ..." : ""})`,
    );
  }
  for (const name of unmatched) terminal.print(`not known in the source: ${name}`);
  for (const name of missing) terminal.print(`missing in the result: ${name}`);
  const { length } = tensors;
  terminal.emit({
    event: "plan",
    component,
    from,
    to,
    tensors: length,
    bytes: bytesOf(plan),
    dropped,
    unmatched,
    missing,
  });
}

function bytesOf({ tensors }: ConversionPlan): number {
  const pieces = tensors.flatMap((tensor) => tensor.pieces);
  return pieces.reduce((sum, { start, end }) => sum + end - start, 0);
}

function isFaulty({ unmatched, missing }: ConversionPlan): boolean {
  return unmatched.length > 0 || missing.length > 0;
}

function refuseFaults({ source, plan }: Job): void {
  if (!isFaulty(plan)) return;
  throw new WeightsError(
    `${source.path} is no complete ${plan.component} in the layout of ${plan.from}: ${plan.unmatched.length} of its ` +
      `tensors are not known, and the result would lack ${plan.missing.length}; they are listed above`,
  );
}

/** Names of the file in a folder, by what is in it. */
const fileNames: Readonly<Record<Layout, Readonly<Record<Component, string>>>> = {
  diffusers: {
    transformer: "diffusion_pytorch_model.safetensors",
    vae: "diffusion_pytorch_model.safetensors",
    lora: loraFileName,
  },
  sat: {
    transformer: "mp_rank_00_model_states.safetensors",
    vae: "3d-vae.safetensors",
    lora: "mp_rank_00_model_states.safetensors",
  },
};

/** The file to write; its folder is made where there is none. */
async function placeFor(output: string, { source, plan }: Job): Promise<string> {
  if (/\.(pt|pth|bin|ckpt)$/.test(output))
    throw new ConfigError(
      `${output} would be a PyTorch file, and only .safetensors is written; ` +
        "load it in Python with safetensors.torch.load_file and save it with torch.save",
    );
  const isFile = output.endsWith(".safetensors");
  const file = isFile ? output : join(output, fileNames[plan.to][plan.component]);
  if (await exists(file)) throw new ConfigError(`${file} exists already; choose another place or remove it`);
  await mkdir(dirname(file), { recursive: true });
  if (!isFile && plan.to === "diffusers") await copyConfig(source.path, output);
  return file;
}

/** A folder of diffusers is of use only with its configuration; an existing one stays. */
async function copyConfig(from: string, to: string): Promise<void> {
  const config = join(from, "config.json");
  if (await exists(config))
    await copyFile(config, join(to, "config.json"), constants.COPYFILE_EXCL).catch((error) => {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    });
}

async function write(
  { plan, metadata, loras }: Job,
  file: string,
  values: Values,
  context: Context,
): Promise<void> {
  const { terminal, signal, cleanups } = context;
  await writePlan(file, plan.tensors, {
    dtype: values.dtype === undefined ? undefined : dtypes[values.dtype],
    metadata,
    // The option's choices are the quantisations.
    quantization: values.quantize as Quantization | undefined,
    editOf: (name) => fuseInto(name, loras),
    signal,
    onOpen: (abort) => void cleanups.add(abort),
    onTensor: (done, total) => terminal.progress(`writing tensor ${done}/${total}`),
  });
  if (plan.component === "lora" && plan.to === "sat")
    terminal.say(
      `note: in SAT's configuration set lora_alpha to ${metadata?.lora_alpha} and r to ${metadata?.lora_r}`,
    );
  terminal.print(file);
  terminal.emit({
    event: "done",
    file,
    tensors: plan.tensors.length,
    fused: loras.map(({ adapter }) => adapter.source),
  });
}

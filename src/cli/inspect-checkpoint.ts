/** @file What a checkpoint folder is: every component's configuration, weights, faults and memory. */
import { join } from "node:path";
import { parseSchedulerConfig, type SchedulerConfig } from "../diffusion/schedule.ts";
import { sizeOf } from "../graph/shape.ts";
import { readPipelineClass } from "../pipeline/checkpoint.ts";
import { PROCESS_AT_REST } from "../pipeline/plan/fit.ts";
import type { Precision } from "../pipeline/precision.ts";
import { loadTokenizer } from "../pipeline/prompt.ts";
import { declaredShapes } from "../runtime/mapped-weights.ts";
import { compareKeys } from "../weights/check.ts";
import { openWeights, type WeightSet } from "../weights/checkpoint.ts";
import { readJson } from "../weights/json-file.ts";
import { type ComponentKind, componentKinds } from "./inspect-components.ts";
import { byteSize, count } from "./numbers.ts";

/** A checkpoint folder; `problems` is empty when everything fits. */
export type CheckpointReport = {
  readonly kind: "checkpoint";
  readonly folder: string;
  readonly pipelineClass: string | null;
  readonly scheduler: SchedulerConfig | null;
  readonly tokenizer: { readonly tokens: number } | null;
  readonly components: Readonly<Record<string, ComponentReport>>;
  /** Sentences, each naming its file. */
  readonly problems: readonly string[];
};

/** One model of a checkpoint; what could not be found out is null. */
export type ComponentReport = {
  /** One line about the configuration. */
  readonly summary: string | null;
  readonly config: unknown;
  /** Numbers in all parameters that the configuration declares. */
  readonly parameters: number | null;
  readonly weights: StoredReport | null;
  readonly keys: KeyReport | null;
  /** What the weights are quantised to; `fp32` for floats of any width, which are computed with in float32. */
  readonly precision: Precision | null;
  readonly memory: MemoryReport | null;
};

/** Bytes of the stage that a model is, at the checkpoint's default size; see docs/planning.md. */
export type MemoryReport = {
  /** The highest anonymous memory of the whole process. */
  readonly anonymous: number;
  /** Weights as they are stored. They are mapped: the kernel may drop these pages at any time. */
  readonly mapped: number;
};

/** Weights as their files hold them. */
export type StoredReport = {
  readonly tensors: number;
  /** Tensors by the type they are stored in. */
  readonly dtypes: Readonly<Record<string, number>>;
  readonly bytes: number;
  readonly files: number;
};

/** Names of stored tensors against what the model declares. */
export type KeyReport = {
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly misshapen: readonly string[];
  readonly mistyped: readonly string[];
};

/** Looks at everything in a checkpoint folder and goes on where something is wrong; only headers are read. */
export async function inspectCheckpoint(folder: string): Promise<CheckpointReport> {
  const problems: string[] = [];
  const pipelineClass = await attempt(problems, () => readPipelineClass(folder));
  const source = join(folder, "scheduler", "scheduler_config.json");
  const scheduler = await attempt(problems, async () => parseSchedulerConfig(await readJson(source), source));
  const tokenizer = await attempt(problems, async () => ({
    tokens: (await loadTokenizer(folder)).numTokens,
  }));
  const components: Record<string, ComponentReport> = {};
  for (const kind of await componentKinds(folder))
    components[kind.name] = await inspectComponent(folder, kind, problems);
  return { kind: "checkpoint", folder, pipelineClass, scheduler, tokenizer, components, problems };
}

async function inspectComponent(
  folder: string,
  kind: ComponentKind,
  problems: string[],
): Promise<ComponentReport> {
  const { name } = kind;
  const source = join(folder, name, "config.json");
  const weights = await attempt(problems, () => openWeights(join(folder, name)));
  const traced = await attempt(problems, async () => kind.trace(await readJson(source), source, weights));
  const keys =
    traced && weights ? comparedKeys(declaredShapes(traced.stored), weights, kind, problems) : null;
  const shapes = traced && [...declaredShapes(traced.segments).values()];
  return {
    summary: traced?.summary ?? null,
    config: traced?.config ?? null,
    parameters: shapes?.reduce((sum, shape) => sum + sizeOf(shape), 0) ?? null,
    weights: weights && storedReport(weights),
    keys,
    precision: traced?.precision ?? null,
    memory: traced && {
      anonymous: PROCESS_AT_REST + traced.plan.memory,
      mapped: weights?.totalBytes ?? traced.plan.mapped,
    },
  };
}

function comparedKeys(
  declared: ReadonlyMap<string, readonly number[]>,
  weights: WeightSet,
  { keyOptions }: ComponentKind,
  problems: string[],
): KeyReport {
  const { missing, unexpected, misshapen, mistyped } = compareKeys(declared, weights, keyOptions);
  const report = { missing, unexpected, misshapen, mistyped };
  for (const [fault, names] of Object.entries(report))
    if (names.length > 0)
      problems.push(`${weights.folder}: ${count(names.length, "tensor")} ${fault}: ${names.join(", ")}`);
  return report;
}

function storedReport({ tensors, totalBytes, realPaths }: WeightSet): StoredReport {
  const dtypes: Record<string, number> = {};
  for (const { dtype } of tensors.values()) dtypes[dtype] = (dtypes[dtype] ?? 0) + 1;
  return { tensors: tensors.size, dtypes, bytes: totalBytes, files: realPaths.size };
}

/** The result, or null with the error's sentence among the problems. Mistakes of ours are not caught. */
async function attempt<T>(problems: string[], look: () => Promise<T> | T): Promise<T | null> {
  try {
    return await look();
  } catch (error) {
    const { name, message } = error as Error;
    if (!["ConfigError", "WeightsError", "ShapeError"].includes(name)) throw error;
    problems.push(message);
    return null;
  }
}

/** The report in lines for people. */
export function describeCheckpoint(report: CheckpointReport): string[] {
  const { folder, pipelineClass, scheduler, tokenizer, components, problems } = report;
  return [
    `${folder}: ${pipelineClass ?? "an unknown pipeline"}`,
    row("scheduler", scheduler ? describeScheduler(scheduler) : "unreadable"),
    row("tokenizer", tokenizer ? count(tokenizer.tokens, "token") : "unreadable"),
    ...Object.entries(components).flatMap(([name, component]) => describeComponent(name, component)),
    ...(problems.length === 0
      ? ["everything fits"]
      : [`${count(problems.length, "problem")}:`, ...problems.map((problem) => `  ${problem}`)]),
  ];
}

function describeComponent(name: string, component: ComponentReport): string[] {
  const { summary, parameters, weights, precision, memory } = component;
  const lines = [row(name, summary ?? "its configuration cannot be read")];
  if (parameters !== null) lines.push(row("", count(parameters, "parameter")));
  if (weights !== null) lines.push(row("", describeStored(weights)));
  if (precision !== null && precision !== "fp32")
    lines.push(row("", `quantised to ${precision}: the matrices of the blocks, see docs/precision.md`));
  if (memory !== null) lines.push(row("", describeMemory(memory)));
  return lines;
}

function describeStored({ tensors, dtypes, bytes, files }: StoredReport): string {
  const kinds = Object.entries(dtypes).map(([dtype, n]) =>
    Object.keys(dtypes).length === 1 ? dtype : `${n} ${dtype}`,
  );
  return `${count(tensors, "tensor")} (${kinds.join(", ")}), ${byteSize(bytes)} in ${count(files, "file")}`;
}

function describeMemory({ anonymous, mapped }: MemoryReport): string {
  return (
    `memory at the default size: about ${byteSize(anonymous)} with the whole process, ` +
    `beside ${byteSize(mapped)} of mapped file`
  );
}

function describeScheduler(config: SchedulerConfig): string {
  const { className, predictionType, timestepSpacing, snrShiftScale, rescaleBetasZeroSnr } = config;
  const snr = rescaleBetasZeroSnr ? "zero terminal SNR" : "no zero terminal SNR";
  return `${className}, ${predictionType}, ${timestepSpacing} timesteps, SNR shift ${snrShiftScale}, ${snr}`;
}

function row(name: string, text: string): string {
  return `${name.padEnd(14)}${text}`;
}

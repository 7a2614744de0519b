/** @file A plan as people and programs read it. */
import { type Fitting, memoryOf, PROCESS_AT_REST } from "../pipeline/plan/fit.ts";
import { heaviestStage, type RunPlan, secondsFor } from "../pipeline/plan/run-plan.ts";
import type { StagePlan } from "../pipeline/plan/stage-plan.ts";
import type { Rates } from "../runtime/rates.ts";
import { byteSize, count, duration } from "./numbers.ts";

/** What a plan was made for. */
export type PlannedMachine = {
  /** Bytes that the run may take, the process itself included. */
  readonly room: number;
  readonly rates: Rates;
};

const stageNames = {
  encode: "VAE encoder",
  text: "text encoder",
  denoise: "transformer",
  decode: "VAE decoder",
};

/** The plan as one object. */
export function planEvent(fitting: Fitting, { room, rates }: PlannedMachine) {
  const { plan } = fitting;
  const { request, precision, cuts, stages } = plan;
  const { cache, steps } = request.options;
  return {
    event: "plan",
    fits: fitting.fits,
    memory: memoryOf(plan),
    available: room,
    seconds: secondsOf(stages, rates),
    ...request.size,
    ...(steps === undefined ? {} : { steps }),
    precision,
    tiling: request.tiling,
    tiles: cuts.tiles,
    chunks: cuts.chunks.length,
    cache: cache?.kind ?? null,
    stages: stages.map(({ stage, memory, mapped, work }) => ({
      stage,
      memory: PROCESS_AT_REST + memory,
      mapped,
      seconds: secondsFor(work, rates),
    })),
    reasons: reasonsOf(fitting, room),
  };
}

/** A table for people, with what was chosen and why below it. */
export function planLines(fitting: Fitting, machine: PlannedMachine): string[] {
  const { stages, request } = fitting.plan;
  const { width, height, frames } = request.size;
  const rows = stages.map(({ stage, memory, mapped, work }) => [
    stageNames[stage],
    byteSize(PROCESS_AT_REST + memory),
    byteSize(mapped),
    duration(secondsFor(work, machine.rates)),
  ]);
  const table = [["stage", "memory", "weight files", "time"], ...rows];
  return [
    `${width}x${height}, ${frames} frames`,
    ...table.map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(13) : cell.padStart(13)))
        .join("")
        .trimEnd(),
    ),
    shortLine(fitting, machine),
    ...reasonsOf(fitting, machine.room),
  ];
}

/** The plan in one line. */
export function shortLine({ plan }: Fitting, { room, rates }: PlannedMachine): string {
  const atMost = plan.request.options.cache === undefined ? "" : "at most ";
  return (
    `plan: ${byteSize(memoryOf(plan))} of ${byteSize(room)} of memory, ` +
    `${atMost}about ${duration(secondsOf(plan.stages, rates))}`
  );
}

/** What cannot fit and what could, with numbers. */
export function refusal({ plan, nearest }: Extract<Fitting, { fits: false }>, room: number): string {
  const needed =
    `this run needs about ${byteSize(memoryOf(plan))} of memory (${stageNames[heaviestStage(plan).stage]}), ` +
    `and ${byteSize(room)} are available`;
  if (nearest === null)
    return `${needed}; no smaller clip of this checkpoint fits, so it needs a machine with more memory`;
  return `${needed}; with ${differences(plan, nearest).join(" ")} it needs about ${byteSize(memoryOf(nearest))}`;
}

/** The options that make the second plan of the first. */
function differences({ request: asked }: RunPlan, { request: other }: RunPlan): string[] {
  const sides = (["width", "height", "frames"] as const).filter(
    (side) => asked.size[side] !== other.size[side],
  );
  return [
    ...(other.tiling && !asked.tiling ? ["--tiling"] : []),
    ...sides.map((side) => `--${side} ${other.size[side]}`),
  ];
}

function reasonsOf(fitting: Fitting, room: number): string[] {
  const { request, precision, cuts } = fitting.plan;
  const { options, tiling } = request;
  const tiles =
    cuts.tiles === 1 ? "whole frames" : `${cuts.tiles} tiles of ${cuts.width}x${cuts.height} latents`;
  const why = tiling
    ? fitting.fits && fitting.choseTiling
      ? ", because whole frames do not fit into memory"
      : ", because --tiling was given"
    : fitting.fits
      ? ", because they fit"
      : "";
  return [
    `decoded as ${tiles}${why}; in ${count(cuts.chunks.length, "chunk")}, which the reference gives`,
    `precision ${precision}, ${request.precision === undefined ? "as the weights are stored" : "as asked for"}`,
    options.cache === undefined
      ? "no feature cache, because none was asked for"
      : `feature cache ${options.cache.kind}, as asked for: times are without what it saves`,
    ...(fitting.fits ? [] : [refusal(fitting, room)]),
  ];
}

function secondsOf(stages: readonly StagePlan[], rates: Rates): number {
  return stages.reduce((sum, { work }) => sum + secondsFor(work, rates), 0);
}

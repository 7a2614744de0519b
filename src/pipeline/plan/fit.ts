/** @file Whether a planned run fits into memory, and the nearest one that does where it does not. */
import { ConfigError } from "../../errors.ts";
import { type ClipSize, SPATIAL_RATIO } from "../clip-size.ts";
import type { PlannedModels } from "./models.ts";
import { heaviestStage, type PlanRequest, planRun, type RunPlan } from "./run-plan.ts";

/** Anonymous memory of the process with its engine, before any work: measured, see docs/planning.md. */
export const PROCESS_AT_REST = 150 << 20;

/** Bytes that a run takes at its highest. */
export function memoryOf(plan: RunPlan): number {
  return PROCESS_AT_REST + heaviestStage(plan).memory;
}

/** A plan that fits, or one that does not with the nearest that would; null where none does. */
export type Fitting =
  | { readonly fits: true; readonly plan: RunPlan; readonly choseTiling: boolean }
  | { readonly fits: false; readonly plan: RunPlan; readonly nearest: RunPlan | null };

/**
 * Plans a run for so many bytes of memory. Where it fits with tiling alone and nobody has said anything about tiling, it
 * is planned with tiling; everything else stays as it was asked for.
 * @param mayTile whether tiling may be chosen
 */
export function fitRun(
  models: PlannedModels,
  request: PlanRequest,
  { room, mayTile }: { readonly room: number; readonly mayTile: boolean },
): Fitting {
  const plan = planRun(models, request);
  if (memoryOf(plan) <= room) return { fits: true, plan, choseTiling: false };
  const fits = (each: PlanRequest): RunPlan | null => {
    const other = planOrNull(models, each);
    return other !== null && memoryOf(other) <= room ? other : null;
  };
  const tiled = request.tiling ? null : fits({ ...request, tiling: true });
  if (tiled !== null && mayTile) return { fits: true, plan: tiled, choseTiling: true };
  if (tiled !== null) return { fits: false, plan, nearest: tiled };
  // Texts are as long for every clip.
  const text = plan.stages.find(({ stage }) => stage === "text")?.memory ?? 0;
  if (PROCESS_AT_REST + text > room) return { fits: false, plan, nearest: null };
  for (const size of smallerSizes(models, request.size))
    for (const tiling of request.tiling ? [request.tiling] : [false, true]) {
      const nearest = fits({ ...request, size, tiling });
      if (nearest !== null) return { fits: false, plan, nearest };
    }
  return { fits: false, plan, nearest: null };
}

/** A VAE whose tiles do not work out has no plan with tiling. */
function planOrNull(models: PlannedModels, request: PlanRequest): RunPlan | null {
  try {
    return planRun(models, request);
  } catch (error) {
    if (error instanceof ConfigError) return null;
    throw error;
  }
}

/** Fewer frames first, then smaller pictures with all frames and with the fewest, down to the smallest of all. */
function* smallerSizes({ transformer: { config } }: PlannedModels, size: ClipSize): Generator<ClipSize> {
  const step = 2 * config.temporalRatio;
  const fewer: number[] = [];
  for (let frames = size.frames - step; frames >= step + 1; frames -= step) fewer.push(frames);
  // Every length would be planned; a few are near enough.
  const lengths = fewer.filter((_, i) => i % Math.ceil(fewer.length / 3) === 0);
  for (const frames of lengths) yield { ...size, frames };
  const unit = SPATIAL_RATIO * config.patch;
  const scaled = (side: number, share: number) => Math.max(unit, Math.floor((side * share) / unit) * unit);
  for (const share of sharesOf(Math.max(size.width, size.height) / unit)) {
    const picture = { width: scaled(size.width, share), height: scaled(size.height, share) };
    if (picture.width === size.width && picture.height === size.height) continue;
    yield { ...size, ...picture };
    if (fewer.length > 0) yield { ...picture, frames: fewer[fewer.length - 1] };
  }
}

/** Shares of a side to try: three quarters, and halves as long as so many units have more than one left. */
function* sharesOf(units: number): Generator<number> {
  yield 3 / 4;
  for (let share = 1 / 2; 2 * share * units > 1; share /= 2) yield share;
}

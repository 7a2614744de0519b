/** @file What the runs of an ablation came to: means over seeds with their standard errors, as a table in Markdown. */
import { join } from "node:path";
import { mean } from "../src/train/mean.ts";
import { readMetrics, seriesOf } from "../src/train/run/metrics.ts";

/** Steps and values of a number along a run. */
type Series = { readonly steps: readonly number[]; readonly values: readonly number[] };

/** What one run wrote down. */
type Measured = { readonly loss: Series; readonly heldOut: Series; readonly secondsPerStep: number };

/** One arm of an ablation: its runs by seed. */
export type Arm = { readonly label: string; readonly runs: ReadonlyMap<number, Measured> };

/** A mean and the standard error of it, null where there is one value alone. */
export type Mean = { readonly mean: number; readonly error: number | null };

/** Stretches that a run is cut into, within which losses hardly fall. */
export const STRETCHES = 30;

/** Reads the runs of an arm. @param folders by seed */
export async function readArm(label: string, folders: ReadonlyMap<number, string>): Promise<Arm> {
  const runs = new Map<number, Measured>();
  for (const [seed, folder] of folders) {
    const metrics = await readMetrics(join(folder, "metrics.jsonl"));
    const secondsPerStep = mean(seriesOf(metrics, "seconds").values);
    runs.set(seed, {
      loss: seriesOf(metrics, "loss"),
      heldOut: seriesOf(metrics, "validation"),
      secondsPerStep,
    });
  }
  return { label, runs };
}

/** Rows of all ablations, arm by arm. */
export function table(ablations: readonly (readonly [name: string, arms: readonly Arm[]])[]): string {
  const head = [
    "| ablation | arm | training loss | from step to step | held-out loss | held-out, less the first | s a step | n |",
    "|---|---|---:|---:|---:|---:|---:|---:|",
  ];
  const rows = ablations.flatMap(([name, arms]) => arms.map((arm) => rowOf(name, arm, arms[0])));
  return [...head, ...rows].join("\n");
}

function rowOf(name: string, arm: Arm, first: Arm): string {
  const over = (of: (run: Measured) => number) => meanOf([...arm.runs.values()].map(of));
  const differences = [...arm.runs].flatMap(([seed, run]) => {
    const other = first.runs.get(seed);
    return other === undefined ? [] : [lastOf(run.heldOut) - lastOf(other.heldOut)];
  });
  const cells = [
    arm === first ? name : "",
    arm.label,
    shown(over(({ loss }) => mean(loss.values.slice(-Math.ceil(loss.values.length / 10))))),
    shown(over(({ loss }) => deviationWithin(loss.values))),
    shown(over(({ heldOut }) => lastOf(heldOut))),
    arm === first ? "" : shown(meanOf(differences)),
    over(({ secondsPerStep }) => secondsPerStep).mean.toFixed(3),
    String(arm.runs.size),
  ];
  return `| ${cells.join(" | ")} |`;
}

/** Mean of a list, and its standard error. */
export function meanOf(list: readonly number[]): Mean {
  const middle = mean(list);
  if (list.length < 2) return { mean: middle, error: null };
  const squares = list.reduce((sum, value) => sum + (value - middle) ** 2, 0);
  return { mean: middle, error: Math.sqrt(squares / (list.length - 1) / list.length) };
}

/** A list cut into stretches of two or more, of about one length. */
export function stretchesOf<T>(list: readonly T[]): T[][] {
  const count = Math.min(STRETCHES, Math.ceil(list.length / 3));
  const border = (i: number) => Math.floor((i * list.length) / count);
  return Array.from({ length: count }, (_, i) => list.slice(border(i), border(i + 1)));
}

/** Standard deviation of the losses of steps around the mean of their stretch, over the second half of a run. */
function deviationWithin(losses: readonly number[]): number {
  const stretches = stretchesOf(losses);
  const late = stretches.slice(Math.floor(stretches.length / 2)).filter(({ length }) => length > 1);
  const squares = late.flatMap((stretch) => stretch.map((loss) => (loss - mean(stretch)) ** 2));
  return Math.sqrt(squares.reduce((a, b) => a + b, 0) / (squares.length - late.length));
}

function lastOf({ values }: Series): number {
  return values[values.length - 1];
}

function shown({ mean, error }: Mean): string {
  return error === null ? mean.toFixed(4) : `${mean.toFixed(4)} ± ${error.toFixed(4)}`;
}

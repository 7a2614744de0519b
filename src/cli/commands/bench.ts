/** @file `cogvideox bench`: how fast the models are on this machine and what memory they take. */
import { ConfigError } from "../../errors.ts";
import { Engine } from "../../runtime/engine.ts";
import { readMemory } from "../../runtime/memory.ts";
import { devices } from "../../runtime/protocol.ts";
import {
  type BenchRequest,
  type BenchResult,
  benchTextEncoder,
  benchTransformer,
  benchVae,
  requireCount,
} from "../bench/model-benches.ts";
import { benchPipeline } from "../bench/pipeline-bench.ts";
import { command } from "../command.ts";
import { engineOptions } from "../generate-table.ts";
import { mebibytes } from "../numbers.ts";
import type { OptionTable } from "../options.ts";
import { noteGain, precisionOf, precisionOption } from "../precision-option.ts";

const options = {
  layers: { kind: "integer", about: "layers of the model (dit 6, t5 4, pipeline 30)" },
  width: { kind: "integer", about: "pixels (dit 720, vae 360, pipeline 240)" },
  height: { kind: "integer", about: "pixels (dit 480, vae 240, pipeline 160)" },
  frames: { kind: "integer", about: "frames (9)" },
  mode: { kind: "text", choices: ["decode", "encode"], about: "vae: direction (decode)" },
  precision: precisionOption,
  device: { kind: "text", choices: devices, about: "where to compute (cpu)" },
  threads: { kind: "integer", about: "threads for one operator (all cores)" },
  runs: { kind: "integer", about: "timed runs after one to warm up (3, vae 1)" },
} as const satisfies OptionTable;

const benches: Readonly<Record<string, (request: BenchRequest) => Promise<BenchResult>>> = {
  dit: benchTransformer,
  vae: benchVae,
  t5: benchTextEncoder,
  pipeline: benchPipeline,
};

export const bench = command({
  name: "bench",
  about: `Measure models of official width with random weights (${Object.keys(benches).join(", ")})`,
  positionals: ["WHAT"],
  options,
  run: async (values, [what], context) => {
    const run = benches[what];
    if (run === undefined)
      throw new ConfigError(`unknown benchmark ${what}; known are ${Object.keys(benches).join(", ")}`);
    const { layers, width, height, frames, mode = "decode" } = values;
    const runs = values.runs === undefined ? undefined : requireCount("--runs", values.runs);
    const precision = precisionOf(values) ?? "fp32";
    if (precision !== "fp32" && what !== "dit")
      throw new ConfigError(
        `--precision ${precision} is for the transformer alone; leave it out for ${what}`,
      );
    noteGain(values, context);
    const started = performance.now();
    const engine = new Engine(engineOptions(values));
    try {
      const request = {
        layers,
        width,
        height,
        frames,
        runs,
        precision,
        mode: mode as BenchRequest["mode"],
        engine,
        context,
      };
      const result = await run(request);
      for (const line of describe(result)) context.terminal.print(line);
      context.terminal.emit(result);
    } finally {
      await engine.close();
    }
    const seconds = (performance.now() - started) / 1000;
    context.terminal.emit({ event: "done", seconds, peakRssMiB: mebibytes(readMemory().peak) });
  },
});

function describe(result: BenchResult): string[] {
  return Object.entries(result).map(([name, value]) => `${name.padEnd(12)}  ${value ?? "-"}`);
}

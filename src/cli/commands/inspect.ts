/** @file `cogvideox inspect`: what a checkpoint, a clip or a file of tensors is. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError, nothingAt } from "../../errors.ts";
import { readConfigs } from "../../train/recipe/model-folder.ts";
import { reachOfLosses } from "../../train/unreached-params.ts";
import { exists } from "../../weights/file.ts";
import { command } from "../command.ts";
import { describeCheckpoint, inspectCheckpoint } from "../inspect-checkpoint.ts";
import { describeMedia, inspectMedia } from "../inspect-media.ts";
import { describeTensors, inspectTensors } from "../inspect-tensors.ts";
import { count } from "../numbers.ts";

export const inspect = command({
  name: "inspect",
  about: "Say what a checkpoint folder, a video or a safetensors file is",
  positionals: ["PATH"],
  options: {
    gradients: { kind: "flag", about: "list parameters of a checkpoint that training sends no gradient to" },
  },
  run: async ({ gradients }, [path], { terminal, fail }) => {
    const { report, lines, fits } = await (gradients ? inspectGradients(path) : inspectPath(path));
    for (const line of lines) terminal.print(line);
    terminal.emit(report);
    if (!fits) fail();
  },
});

type Inspection = {
  readonly report: Readonly<Record<string, unknown>>;
  readonly lines: readonly string[];
  /** Whether nothing is wrong with it. */
  readonly fits: boolean;
};

async function inspectPath(path: string): Promise<Inspection> {
  const found = await stat(path).catch((cause) => {
    throw nothingAt(path, cause);
  });
  if (found.isDirectory() && (await isCheckpoint(path))) {
    const report = await inspectCheckpoint(path);
    return { report, lines: describeCheckpoint(report), fits: report.problems.length === 0 };
  }
  if (found.isDirectory()) return inspectFrames(path);
  if (path.endsWith(".safetensors")) {
    const report = await inspectTensors(path);
    return { report, lines: describeTensors(report), fits: true };
  }
  const report = await inspectMedia(path);
  return { report, lines: describeMedia(report), fits: true };
}

/** @throws ConfigError for what is no checkpoint */
async function inspectGradients(folder: string): Promise<Inspection> {
  const reach = reachOfLosses(await readConfigs(folder));
  const lines = Object.entries(reach).flatMap(([part, { parameters, unreached }]) => [
    unreached.length === 0
      ? `${part}: gradients reach all of ${count(parameters, "parameter")}`
      : `${part}: no gradient reaches ${unreached.length} of ${count(parameters, "parameter")}:`,
    ...unreached.map((key) => `  ${key}`),
  ]);
  const fits = Object.values(reach).every(({ unreached }) => unreached.length === 0);
  return { report: { kind: "gradients", folder, ...reach }, lines, fits };
}

async function inspectFrames(folder: string): Promise<Inspection> {
  const report = await inspectMedia(folder).catch((cause) => {
    throw new ConfigError(
      `${folder} holds neither a checkpoint (there is no model_index.json) nor frames; ` +
        "give a checkpoint folder, a folder of images, a video or a .safetensors file",
      { cause },
    );
  });
  return { report, lines: describeMedia(report), fits: true };
}

async function isCheckpoint(folder: string): Promise<boolean> {
  return exists(join(folder, "model_index.json"));
}

/** @file The engine options of one session. */
import type { InferenceSession } from "onnxruntime-node";
import type { EngineSettings, LoadRequest } from "./protocol.ts";

const levels = { none: "disabled", basic: "basic", all: "all" } as const;

/** Options for a session among many: mapped weights stay mapped, idle threads sleep, memory goes back after a run. */
export function sessionOptions(
  { device, threads }: EngineSettings,
  { label, weightsFolder, optimize }: LoadRequest,
): InferenceSession.SessionOptions {
  const folder = weightsFolder ? { model_external_initializers_file_folder_path: weightsFolder } : {};
  return {
    executionProviders: device === "cpu" ? ["cpu"] : [device, "cpu"],
    graphOptimizationLevel: levels[optimize],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    enableCpuMemArena: false,
    enableMemPattern: false,
    logSeverityLevel: 3,
    logId: label,
    extra: { session: { disable_prepacking: "1", intra_op: { allow_spinning: "0" }, ...folder } },
  };
}

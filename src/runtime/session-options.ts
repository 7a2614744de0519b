/** @file The engine options of one session. */
import type { InferenceSession } from "onnxruntime-node";
import type { EngineSettings, LoadRequest } from "./protocol.ts";

/**
 * Options for a session among many: mapped weights stay mapped, idle threads sleep. Graphs arrive in their final form, and
 * the engine's own rewriting would widen mapped weights at load time, so it is off.
 */
export function sessionOptions(
  { device, threads }: EngineSettings,
  { label, weightsFolder, arena }: LoadRequest,
): InferenceSession.SessionOptions {
  const folder = weightsFolder ? { model_external_initializers_file_folder_path: weightsFolder } : {};
  return {
    executionProviders: device === "cpu" ? ["cpu"] : [device, "cpu"],
    graphOptimizationLevel: "disabled",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    enableCpuMemArena: arena,
    enableMemPattern: false,
    logSeverityLevel: 3,
    logId: label,
    extra: { session: { disable_prepacking: "1", intra_op: { allow_spinning: "0" }, ...folder } },
  };
}

/** @file The engine options of one session. */
import type { InferenceSession } from "onnxruntime-node";
import type { OpenDevice } from "./device.ts";
import type { Device, EngineSettings, LoadRequest } from "./protocol.ts";

/**
 * Options for a session among many: mapped weights stay mapped unless they are to be reordered, idle threads sleep.
 * Graphs arrive in their final form, and the engine's own rewriting would widen mapped weights at load time, so it is off.
 */
export function sessionOptions(
  { device, threads }: EngineSettings,
  { label, weightsFolder, needs, arena, prepack }: LoadRequest,
  { lacks }: OpenDevice,
): InferenceSession.SessionOptions {
  const folder = weightsFolder ? { model_external_initializers_file_folder_path: weightsFolder } : {};
  return {
    executionProviders: providers(
      device,
      lacks.flatMap((need) => needs[need]),
    ),
    graphOptimizationLevel: "disabled",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    enableCpuMemArena: arena,
    enableMemPattern: false,
    logSeverityLevel: 4,
    logId: label,
    extra: {
      session: { disable_prepacking: prepack ? "0" : "1", intra_op: { allow_spinning: "0" }, ...folder },
    },
  };
}

/** What a device has no kernel for falls to the CPU by itself; `hostNodes` are nodes that it would take and fail in. */
function providers(
  device: Device,
  hostNodes: readonly string[],
): InferenceSession.SessionOptions["executionProviders"] {
  if (device === "cpu") return ["cpu"];
  // The engine refuses an empty list.
  const isMixed = device === "webgpu" && hostNodes.length > 0;
  return [isMixed ? { name: device, forceCpuNodeNames: hostNodes } : device, "cpu"];
}

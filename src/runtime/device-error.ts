/** @file Why a device cannot be used, in words. */
import { SessionError } from "../errors.ts";
import type { Device } from "./protocol.ts";

const remedies: Readonly<Record<Exclude<Device, "cpu">, string>> = {
  webgpu:
    "it needs a GPU with a driver for Vulkan (Linux, for example the package mesa-vulkan-drivers), " +
    "Direct3D 12 (Windows) or Metal (macOS)",
  cuda:
    "it needs Linux on x64 with an NVIDIA driver, CUDA 12, cuDNN 9 and the engine's CUDA libraries, which " +
    "ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install downloads",
};

/** One sentence: the device, what the engine said, what the device needs, and the way around. */
export function deviceError(device: Exclude<Device, "cpu">, cause: Error): SessionError {
  // The engine puts a path in its own sources and the condition that failed before the reason.
  const reason = cause.message.replace(/^.* was false\. /s, "").trim();
  const message = `device ${device} cannot be used: ${reason}; ${remedies[device]}; or use --device cpu`;
  return new SessionError(message, { cause });
}

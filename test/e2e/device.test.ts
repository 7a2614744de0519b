/** @file Devices that this machine does not have. */
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { expect, test, vi } from "vitest";
import { cogvideox, temporaryFolder } from "../helpers/command-line.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const binaries = join(dirname(createRequire(import.meta.url).resolve("onnxruntime-node")), "../bin/napi-v6");
const hasCuda = existsSync(join(binaries, "linux/x64/libonnxruntime_providers_cuda.so"));

test.skipIf(hasCuda)("cuda without the engine's CUDA libraries says how to get them", async () => {
  const { stderr, left } = await generate("cuda");
  expect(stderr).toMatch(/^error: device cuda cannot be used: [^\n]+ONNXRUNTIME_NODE_INSTALL=cuda12 node /);
  expect(stderr).toMatch(/; or use --device cpu\n$/);
  expect(left).toEqual([]);
});

// Other systems bring a driver along, and without a GPU a software one.
test.skipIf(process.platform !== "linux")("webgpu without a driver says which one is missing", async () => {
  vi.stubEnv("VK_ICD_FILENAMES", "/nowhere.json");
  vi.stubEnv("VK_DRIVER_FILES", "/nowhere.json");
  const { stderr, left } = await generate("webgpu");
  vi.unstubAllEnvs();
  expect(stderr).toMatch(
    /^error: device webgpu cannot be used: [^\n]+ Vulkan [^\n]+; or use --device cpu\n$/,
  );
  expect(left).toEqual([]);
});

async function generate(device: string) {
  const cwd = temporaryFolder();
  const files = ["--save-latents", "latents.safetensors", "-o", "clip.mp4"];
  const args = ["a cat", "--model", recorded("t2v-rope"), "--steps", "1", "--device", device, ...files];
  const ended = await cogvideox(["generate", ...args], { cwd });
  expect(ended.status).toBe(1);
  return { ...ended, left: readdirSync(cwd) };
}

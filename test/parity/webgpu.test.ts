/** @file The WebGPU device against the reference and against the CPU, through Vulkan in software where it is installed. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { linearMap } from "../../src/graph/functions.ts";
import { emit } from "../../src/graph/tensor.ts";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { transformerSegments } from "../../src/models/transformer/transformer.ts";
import { Denoiser } from "../../src/pipeline/denoiser.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { declaredShapes } from "../../src/runtime/mapped-weights.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { floatsToBf16, floatsToF16 } from "../../src/weights/cast.ts";
import { readFloats } from "../../src/weights/read.ts";
import { readHeader } from "../../src/weights/safetensors.ts";
import { cogvideox, temporaryFolder } from "../helpers/command-line.ts";
import { hashCheckpoint } from "../helpers/hash-checkpoint.ts";
import { hashInput } from "../helpers/hash-fill.ts";
import { runGraph } from "../helpers/run-graph.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";
import { toyTransformer } from "../helpers/toy-transformer.ts";

/** SwiftShader, a Vulkan driver without a GPU, as Debian's chromium brings it. It has no float16, as some GPUs have none. */
const DRIVER = "/usr/lib/chromium/vk_swiftshader_icd.json";

describe.skipIf(!existsSync(DRIVER))(`with the driver ${DRIVER}`, () => {
  let webgpu: Engine;
  let cpu: Engine;
  beforeAll(() => {
    vi.stubEnv("VK_ICD_FILENAMES", DRIVER);
    webgpu = new Engine({ device: "webgpu" });
    cpu = new Engine();
  });
  afterAll(async () => {
    await webgpu.close();
    await cpu.close();
    vi.unstubAllEnvs();
  });

  test("the transformer predicts what the reference predicts", async () => {
    const golden = JSON.parse(readFileSync("test/fixtures/golden/transformer.json", "utf8")).T2_rope10_base;
    const config = parseTransformerConfig(
      {
        ...toyTransformer,
        use_rotary_positional_embeddings: true,
      },
      "config.json",
    );
    const shape = [2, 3, 4, 6, 8];
    const call = { batch: 2, frames: 3, height: 6, width: 8, textLength: 5 };
    const { embed, blocks, head } = transformerSegments(config, { ...call, added: "none" });
    const weights = await hashCheckpoint(declaredShapes([embed, ...blocks, head]));
    const denoiser = new Denoiser(webgpu, config, weights, call);
    const sample = await denoiser.predict({
      latents: { dtype: "f32", shape, data: hashInput(shape, 1000) },
      text: { dtype: "f32", shape: [2, 5, 12], data: hashInput([2, 5, 12], 1001) },
      timestep: [999, 500],
    });
    await denoiser.close();
    expect(sample.data).toBeCloseToArray(golden.data, { atol: 1e-5 });
  });

  test.each([
    ["bf16", [520, 512], floatsToBf16],
    ["f16", [520, 512], floatsToF16],
    ["bf16", [2080, 2048], floatsToBf16],
    ["f16", [2080, 2048], floatsToF16],
  ] as const)("a linear map with %s weights %j equals the CPU's", async (dtype, shape, narrow) => {
    const folder = temporaryFolder();
    const bits = narrow(hashInput(shape, 1, 0.1));
    writeFileSync(join(folder, "weight"), new Uint8Array(bits.buffer));
    const storage = () => ({ dtype, location: "weight", offset: 0, byteLength: bits.byteLength });
    const x: HostTensor = { dtype: "f32", shape: [3, shape[1]], data: hashInput([3, shape[1]], 2) };
    const [ours, expected] = await Promise.all(
      [webgpu, cpu].map((engine) =>
        runGraph(engine, (rows) => linearMap(rows, emit("Param", [], { key: "w", shape })), [x], {
          storage,
          weightsFolder: folder,
          portable: true,
        }),
      ),
    );
    expect(ours.data).toBeCloseToArray(expected.data as Float32Array, { atol: 1e-5 });
  });

  test.each([
    ["bf16", "t2v-rope"],
    ["f16", "t2v-sincos"],
  ])("generates with %s weights what the CPU generates", async (_, checkpoint) => {
    const onCpu = await generate(checkpoint, "cpu");
    const onWebgpu = await generate(checkpoint, "webgpu");
    expect(onWebgpu.latents).toBeCloseToArray(onCpu.latents, { atol: 1e-4 });
    expect(onWebgpu.frames).toBeCloseToArray(onCpu.frames, { atol: 1e-4 });
  });
});

test.skipIf(!existsSync(DRIVER))("float16 is refused on a GPU that does not compute in it", async () => {
  vi.stubEnv("VK_ICD_FILENAMES", DRIVER);
  const cwd = temporaryFolder();
  const device = ["--device", "webgpu", "--precision", "fp16"];
  const refused =
    /precision fp16 needs a GPU that computes in float16 \(shader-f16\), .*; use fp32, or w8 or w4/;
  const model = ["--model", recorded("t2v-sincos"), "--steps", "1"];
  for (const call of [
    ["generate", "a cat", ...model],
    ["bench", "dit", "--layers", "1"],
  ]) {
    const ended = await cogvideox([...call, ...device], { cwd });
    expect(ended).toMatchObject({ status: 2, stderr: expect.stringMatching(refused) });
  }
  vi.unstubAllEnvs();
  expect(readdirSync(cwd)).toEqual([]);
});

/** Latents and frames of the smallest clip. */
async function generate(checkpoint: string, device: string) {
  const out = temporaryFolder();
  const [latents, frames] = [join(out, "latents.safetensors"), join(out, "frames.safetensors")];
  const files = ["--save-latents", latents, "--save-frames", frames, "-o", join(out, "clip.webp")];
  const size = ["--width", "16", "--height", "16", "--frames", "1", "--steps", "1", "--seed", "3"];
  const model = ["--model", recorded(checkpoint), "--device", device];
  const ended = await cogvideox(["generate", "a cat", ...model, ...size, ...files]);
  expect(ended).toMatchObject({ status: 0 });
  const read = async (file: string, name: string) => readFloats((await readHeader(file)).tensors.get(name)!);
  return { latents: await read(latents, "latents"), frames: await read(frames, "frames") };
}

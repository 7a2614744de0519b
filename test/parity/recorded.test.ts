/** @file The command line against whole runs of the reference, recorded with tiny checkpoints. */
import { readdirSync, readFileSync } from "node:fs";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { transformerSegments } from "../../src/models/transformer/transformer.ts";
import { loadTokenizer } from "../../src/pipeline/prompt.ts";
import { declaredShapes } from "../../src/runtime/mapped-weights.ts";
import { readFloats, readTensor } from "../../src/weights/read.ts";
import { writeSafetensors } from "../../src/weights/write.ts";
import { cogvideox, cogvideoxProcess, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { hashCheckpoint } from "../helpers/hash-checkpoint.ts";
import { hashInput } from "../helpers/hash-fill.ts";
import { difference, optionsOf, report, stored, worst } from "../helpers/recorded-case.ts";

const root = "test/fixtures/checkpoints";
const checkpoints = ["t2v-rope", "t2v-sincos", "t2v-patch-t"];
const cases = checkpoints.flatMap((checkpoint) =>
  readdirSync(join(root, checkpoint, "expected"))
    .filter((name) => name.startsWith("t2v-") && name.endsWith(".json"))
    .map((name) => ({ folder: join(root, checkpoint), name: name.slice(0, -5) })),
);

describe.each(cases)("$folder $name", ({ folder, name }) => {
  const expected = join(folder, "expected", `${name}.safetensors`);

  test("generates the reference's latents and frames", async () => {
    const call = JSON.parse(readFileSync(join(folder, "expected", `${name}.json`), "utf8"));
    const out = temporaryFolder();
    const [latents, frames] = [join(out, "latents.safetensors"), join(out, "frames.safetensors")];
    const files = ["--save-latents", latents, "--save-frames", frames, "-o", join(out, "clip.mp4")];
    const run = name === "t2v-ddim" ? cogvideoxProcess : cogvideox;
    const ended = await run(["generate", "--model", folder, ...optionsOf(call), ...files, "--json"]);
    expect(ended).toMatchObject({ status: 0 });
    expect(jsonLines(ended).at(-1)).toMatchObject({ event: "done", seed: call.seed });
    report(`${folder} ${name} latents`, await difference(latents, expected, "latents"));
    report(`${folder} ${name} frames`, await difference(frames, expected, "frames"));
  });
});

describe.each(checkpoints)("%s", (checkpoint) => {
  const folder = join(root, checkpoint);
  const expected = join(folder, "expected/t2v-ddim.safetensors");
  const { prompt } = JSON.parse(readFileSync(join(folder, "expected/t2v-ddim.json"), "utf8"));

  test("tokenizes the prompt to the reference's ids", async () => {
    const ids = (await readTensor(await stored(expected, "prompt_ids"))) as BigInt64Array;
    const { ids: ours } = (await loadTokenizer(folder)).encodePadded(prompt, ids.length);
    expect([...ours]).toEqual([...ids].map(Number));
  });

  test.each([
    ["prompt_embeds", prompt],
    ["negative_embeds", ""],
  ])("encodes a prompt to the reference's %s", async (name, text) => {
    const output = join(temporaryFolder(), "states.safetensors");
    const args = ["--model", folder, "--prompt", text, "--output", output];
    expect(await cogvideox(["forward", "text-encoder", ...args])).toMatchObject({ status: 0 });
    report(`${checkpoint} ${name}`, await difference(output, expected, "last_hidden_state", name));
  });

  test("encodes token ids from a file to the reference's prompt_embeds", async () => {
    const out = temporaryFolder();
    const [inputs, output] = [join(out, "in.safetensors"), join(out, "out.safetensors")];
    const ids = await stored(expected, "prompt_ids");
    const data = (await readTensor(ids)) as BigInt64Array;
    await writeSafetensors(inputs, { input_ids: { dtype: "I64", shape: ids.shape, data } });
    const args = ["--model", folder, "--inputs", inputs, "--output", output];
    expect(await cogvideox(["forward", "text-encoder", ...args])).toMatchObject({ status: 0 });
    report(
      `${checkpoint} from ids`,
      await difference(output, expected, "last_hidden_state", "prompt_embeds"),
    );
  });

  test("decodes the reference's latents to its frames", async () => {
    const out = temporaryFolder();
    const [inputs, output] = [join(out, "in.safetensors"), join(out, "out.safetensors")];
    await writeSafetensors(inputs, { latents: await decoderInput(folder, expected) });
    const args = ["--model", folder, "--inputs", inputs, "--output", output];
    expect(await cogvideox(["forward", "vae-decode", ...args])).toMatchObject({ status: 0 });
    const frames = await stored(expected, "frames");
    const sample = await stored(output, "sample");
    const [count, height, width] = frames.shape;
    expect(sample.shape).toEqual([1, 3, count, height, width]);
    const ours = channelsLast(await readFloats(sample), count * height * width);
    report(`${checkpoint} vae-decode`, worst(ours, await readFloats(frames)));
  });
});

const golden = JSON.parse(readFileSync("test/fixtures/golden/transformer.json", "utf8"));

test("forward transformer gives the reference's prediction", async () => {
  const json = {
    num_attention_heads: 2,
    attention_head_dim: 16,
    in_channels: 8,
    out_channels: 4,
    time_embed_dim: 8,
    text_embed_dim: 12,
    num_layers: 2,
    sample_width: 8,
    sample_height: 6,
    sample_frames: 9,
    max_text_seq_length: 5,
    use_rotary_positional_embeddings: true,
    patch_size_t: 2,
    ofs_embed_dim: 8,
  };
  const out = temporaryFolder();
  await writeTransformer(out, json);
  const shape = [2, 4, 8, 6, 8];
  const [inputs, output] = [join(out, "in.safetensors"), join(out, "out.safetensors")];
  const floats = (values: number[]) => ({
    dtype: "F32" as const,
    shape: [2],
    data: Float32Array.from(values),
  });
  await writeSafetensors(inputs, {
    hidden_states: { dtype: "F32", shape, data: hashInput(shape, 1000) },
    encoder_hidden_states: { dtype: "F32", shape: [2, 5, 12], data: hashInput([2, 5, 12], 1001) },
    timestep: { dtype: "I64", shape: [2], data: BigInt64Array.of(999n, 500n) },
    ofs: floats([2, 2]),
  });
  const args = ["--model", out, "--inputs", inputs, "--output", output, "--json"];
  const ended = await cogvideox(["forward", "transformer", ...args]);
  expect(ended).toMatchObject({ status: 0 });
  expect(jsonLines(ended)).toMatchObject([{ event: "done" }]);
  const sample = await readFloats(await stored(output, "sample"));
  report("forward transformer", worst(sample, Float32Array.from(golden.T5_v15_i2v_ofs.data)));
});

/** A checkpoint folder with nothing but a transformer of hash-filled weights. */
async function writeTransformer(folder: string, json: object): Promise<void> {
  const config = parseTransformerConfig(json, "config.json");
  const call = { batch: 1, frames: 2, height: 6, width: 8, textLength: 5, added: "none" as const };
  const { embed, blocks, head } = transformerSegments(config, call);
  const weights = await hashCheckpoint(declaredShapes([embed, ...blocks, head]));
  await mkdir(join(folder, "transformer"));
  await cp(weights.folder, join(folder, "transformer"), { recursive: true });
  await writeFile(join(folder, "transformer/config.json"), JSON.stringify(json));
  await writeFile(join(folder, "model_index.json"), JSON.stringify({ _class_name: "CogVideoXPipeline" }));
}

/** The recorded latents as the VAE takes them: without padding frames, channels first, unscaled. */
async function decoderInput(folder: string, file: string) {
  const { shape } = await stored(file, "latents");
  const data = await readFloats(await stored(file, "latents"));
  const [, frames, channels, height, width] = shape;
  const skip = frames % 2 === 0 ? 1 : 0;
  const scale = JSON.parse(readFileSync(join(folder, "vae/config.json"), "utf8")).scaling_factor;
  const plane = height * width;
  const out = new Float32Array(channels * (frames - skip) * plane);
  for (let f = skip; f < frames; f++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < plane; i++)
        out[(c * (frames - skip) + f - skip) * plane + i] = data[(f * channels + c) * plane + i] / scale;
  return { dtype: "F32" as const, shape: [1, channels, frames - skip, height, width], data: out };
}

/** Pixels `[3, N]` in [-1, 1] to `[N, 3]` in [0, 1]. */
function channelsLast(sample: Float32Array, pixels: number): Float32Array {
  return Float32Array.from(sample, (_, i) => {
    const value = sample[(i % 3) * pixels + Math.floor(i / 3)];
    return Math.min(1, Math.max(0, value / 2 + 0.5));
  });
}

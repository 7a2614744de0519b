/** @file The command line against whole runs of the reference, recorded with tiny checkpoints. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadTokenizer } from "../../src/pipeline/prompt.ts";
import { readFloats, readTensor } from "../../src/weights/read.ts";
import { writeSafetensors } from "../../src/weights/write.ts";
import { cogvideox, cogvideoxProcess, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
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
    report(`${checkpoint} ${name}`, await difference(output, expected, "prompt_embeds", name));
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

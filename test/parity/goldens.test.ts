/** @file All cases that the reference came with, through the command line: from files to files. */
import { readdirSync } from "node:fs";
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readFloats } from "../../src/weights/read.ts";
import { type TensorData, writeSafetensors } from "../../src/weights/write.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { goldenCheckpoint, goldens, hashFloats, holdToGolden } from "../helpers/golden-case.ts";
import { hashInput } from "../helpers/hash-fill.ts";
import { stored } from "../helpers/recorded-case.ts";
import { releasedScheduler } from "../helpers/released-scheduler.ts";
import { toyTransformer } from "../helpers/toy-transformer.ts";
import { toyVae } from "../helpers/toy-vae.ts";

const rotary = { ...toyTransformer, use_rotary_positional_embeddings: true };
const temporal = { ...rotary, patch_size_t: 2 };
const toyText = {
  ...{ vocab_size: 64, d_model: 12, d_kv: 4, d_ff: 20, num_layers: 2, num_heads: 3 },
  feed_forward_proj: "gated-gelu",
};

/** Cases that have been held to. */
const covered = new Set<string>();

describe("transformer", () => {
  test.each([
    ["T1_sincos_base", toyTransformer, [2, 3, 4, 6, 8]],
    ["T1_sincos_other", toyTransformer, [2, 1, 4, 8, 6]],
    ["T2_rope10_base", rotary, [2, 3, 4, 6, 8]],
    ["T2_rope10_other", rotary, [2, 2, 4, 8, 12]],
    [
      "T3_learned_i2v",
      { ...rotary, in_channels: 8, use_learned_positional_embeddings: true },
      [2, 3, 8, 6, 8],
    ],
    ["T4_v15", temporal, [2, 4, 4, 6, 8]],
    ["T5_v15_i2v_ofs", { ...temporal, in_channels: 8, ofs_embed_dim: 8 }, [2, 4, 8, 6, 8]],
  ])("%s", async (name, json, shape) => {
    const folder = await goldenCheckpoint({ transformer: json });
    await hold(name, "sample", ["transformer", "--model", folder], {
      hidden_states: hashFloats(shape, 1000),
      encoder_hidden_states: hashFloats([2, 5, 12], 1001),
      timestep: { dtype: "I64", shape: [2], data: BigInt64Array.of(999n, 500n) },
      ...("ofs_embed_dim" in json ? { ofs: { dtype: "F32", shape: [1], data: Float32Array.of(2) } } : {}),
    });
  });
});

describe("VAE", () => {
  const folder = () => goldenCheckpoint({ vae: toyVae });

  test.each([1, 8, 9, 17])("V_enc_T%i", async (frames) => {
    const sample = hashFloats([1, 3, frames, 16, 24], 1002, 2);
    await hold(`V_enc_T${frames}`, "moments", ["vae-encode", "--model", await folder()], { sample });
  });

  test.each([
    ["V_dec_T1", [1, 4, 1, 2, 3]],
    ["V_dec_T2", [1, 4, 2, 2, 3]],
    ["V_dec_T3", [1, 4, 3, 2, 3]],
    ["V_dec_T5", [1, 4, 5, 2, 3]],
    ["V_untiled_dec", [1, 4, 3, 8, 9]],
  ])("%s", async (name, shape) => {
    const latents = hashFloats(shape, 1003, 2);
    await hold(name, "sample", ["vae-decode", "--model", await folder()], { latents });
  });

  test("in tiles of 48 pixels", async () => {
    const tiles = ["--model", await folder(), "--tiling", "--tile-size", "48x48", "--tile-overlap", "8x8"];
    const latents = hashFloats([1, 4, 3, 8, 9], 1003, 2);
    await hold("V_tiled_dec", "sample", ["vae-decode", ...tiles], { latents });
    const sample = hashFloats([1, 3, 9, 64, 72], 1002, 2);
    await hold("V_tiled_enc", "moments", ["vae-encode", ...tiles], { sample });
  });
});

test("T5_enc", async () => {
  const ids = BigInt64Array.of(5n, 9n, 33n, 2n, 61n, 1n, 0n, 0n, 0n, 0n);
  const args = ["text-encoder", "--model", await goldenCheckpoint({ textEncoder: toyText })];
  await hold("T5_enc", "last_hidden_state", args, { input_ids: { dtype: "I64", shape: [1, 10], data: ids } });
});

describe("scheduler", () => {
  const shape = [1, 2, 4, 2, 2];
  const shifted = (snr_shift_scale: number) => ({ ...releasedScheduler, snr_shift_scale });

  test.each([
    ["S_ddim10_shift1.0", shifted(1), 10, []],
    ["S_ddim10_shift3.0", shifted(3), 10, []],
    ["S_dpm10_shift1.0_seed0", shifted(1), 10, ["--scheduler", "dpm", "--seed", "0"]],
    ["S_dpm10_shift3.0_seed0", shifted(3), 10, ["--scheduler", "dpm", "--seed", "0"]],
    ["S_ddim_generic_default4", { _class_name: "DDIMScheduler" }, 4, []],
    ["S_ddim_inverse5", shifted(3), 5, ["--scheduler", "inverse"]],
  ])("%s, with a model of the caller", async (name, scheduler, steps, more) => {
    const args = [
      "sampler",
      "--model",
      await goldenCheckpoint({ scheduler }),
      "--steps",
      String(steps),
      ...more,
    ];
    const first = hashInput(shape, 1004);
    const predictions: number[] = [];
    let samples = first;
    for (let step = 0; step < steps; step++) {
      // The model of these cases: 0.3 x - 0.1.
      for (const x of samples.subarray(-first.length))
        predictions.push(Math.fround(Math.fround(0.3) * x) - Math.fround(0.1));
      const made = await forward(args, {
        sample: { dtype: "F32", shape, data: first },
        model_output: { dtype: "F32", shape: [step + 1, ...shape], data: Float32Array.from(predictions) },
      });
      samples = await readFloats(await stored(made, "samples"));
      expect((await stored(made, "timesteps")).shape).toEqual([steps]);
    }
    compare(name, shape, samples.subarray(-first.length));
  });

  test("S_addnoise_t799 and S_velocity_t799", async () => {
    const made = await forward(
      ["add-noise", "--model", await goldenCheckpoint({ scheduler: releasedScheduler })],
      {
        original_samples: hashFloats(shape, 1004),
        noise: hashFloats(shape, 1005),
        timestep: { dtype: "I64", shape: [1], data: BigInt64Array.of(799n) },
      },
    );
    for (const [name, output] of [
      ["S_addnoise_t799", "noisy_samples"],
      ["S_velocity_t799", "velocity"],
    ]) {
      const tensor = await stored(made, output);
      compare(name, tensor.shape, await readFloats(tensor));
    }
  });
});

describe("generate", () => {
  const vae = { ...toyVae, scaling_factor: 1.15258426 };
  const learned = { ...rotary, in_channels: 8, use_learned_positional_embeddings: true };
  const noise = hashFloats([1, 3, 4, 6, 8], 1008);
  const picture = { option: "--image", frames: floatFrames([1, 3, 48, 64], 1009) };
  const clip = (option: string) => ({ option, frames: floatFrames([9, 3, 48, 64], 1010) });
  const image = "CogVideoXImageToVideoPipeline";

  test.each<Run>([
    { names: ["P_t2v_ddim3_latent", "P_t2v_ddim3_pt"], noise, args: ["--steps", "3"] },
    { names: ["P_t2v_ddim3_dyncfg_latent"], noise, args: ["--steps", "3", "--dynamic-cfg"] },
    { names: ["P_t2v_dpm4_seed0_latent"], args: ["--steps", "4", "--scheduler", "dpm"] },
    {
      names: ["P_t2v15_ddim3_latent", "P_t2v15_ddim3_pt"],
      parts: { transformer: temporal },
      noise: hashFloats([1, 4, 4, 6, 8], 1008),
      args: ["--steps", "3"],
    },
    {
      names: ["P_i2v_ddim3_seed0_latent"],
      parts: { pipeline: image, transformer: learned },
      source: picture,
      args: ["--steps", "3"],
    },
    {
      names: ["P_i2v15_ddim3_seed0_latent"],
      parts: {
        pipeline: image,
        transformer: { ...temporal, in_channels: 8, ofs_embed_dim: 8 },
        vae: { ...vae, scaling_factor: 0.7, invert_scale_latents: true },
      },
      source: picture,
      args: ["--steps", "3"],
    },
    {
      names: ["P_v2v_ddim5_s06_seed0_latent"],
      source: clip("--video"),
      args: ["--steps", "5", "--strength", "0.6"],
    },
    {
      names: ["P_fun_ddim2_latent"],
      parts: {
        pipeline: "CogVideoXFunControlPipeline",
        transformer: { ...rotary, in_channels: 8 },
        scheduler: { _class_name: "DDIMScheduler" },
      },
      noise,
      source: clip("--control"),
      args: ["--steps", "2"],
    },
  ])("$names", (run) => generates(run));

  test.each([
    ["C_none_ddim8", null],
    ["C_pab_ddim8", "pab"],
    ["C_fastercache_ddim8", "fastercache:weight=0.3,unconditional-every=2,unconditional-below=781"],
    ["C_fbc_0.3_ddim8", "first-block:0.3"],
    ["C_taylor_lite_ddim8", "taylorseer:3"],
    ["C_taylor_attn_ddim8", "taylorseer:interval=3,part=attention"],
    ["C_mag_ddim8", "magcache:ratios=ratios.json"],
  ])("%s, --cache %s", (name, cache) => {
    const parts = { transformer: { ...rotary, num_layers: 3 } };
    const args = ["--steps", "8", ...(cache === null ? [] : ["--cache", cache])];
    return generates({ names: [name], parts, noise, args });
  });

  type Run = {
    /** The case that the latents are held to, and the one that the frames are. */
    readonly names: readonly string[];
    readonly parts?: Parameters<typeof goldenCheckpoint>[0];
    readonly noise?: TensorData;
    readonly source?: { readonly option: string; readonly frames: TensorData };
    readonly args: readonly string[];
  };

  async function generates({ names: [latents, frames], parts, noise, source, args }: Run): Promise<void> {
    const cwd = temporaryFolder();
    const all = { transformer: rotary, vae, textEncoder: toyText, scheduler: releasedScheduler, ...parts };
    const model = await goldenCheckpoint(all);
    await cp("test/fixtures/checkpoints/control/tokenizer", join(model, "tokenizer"), { recursive: true });
    const states = { prompt_embeds: hashFloats([1, 5, 12], 1006) };
    const negative = { negative_prompt_embeds: hashFloats([1, 5, 12], 1007) };
    await writeSafetensors(join(cwd, "states.safetensors"), { ...states, ...negative });
    await writeFile(
      join(cwd, "ratios.json"),
      JSON.stringify({ ratios: [1, 1.01, 0.99, 1.02, 0.98, 1, 1.01, 0.97] }),
    );
    if (noise) await writeSafetensors(join(cwd, "noise.safetensors"), { latents: noise });
    if (source) await writeSafetensors(join(cwd, "source.safetensors"), { frames: source.frames });
    const given = [
      ...["--model", model, "--prompt-states", "states.safetensors", "--seed", "0", "--parity"],
      ...(noise ? ["--latents", "noise.safetensors"] : []),
      ...(source ? [source.option, "source.safetensors"] : []),
    ];
    const files = ["--save-latents", "latents.safetensors", "--save-frames", "frames.safetensors"];
    const ended = await cogvideox(["generate", ...given, ...args, ...files, "-o", "clip.mp4"], { cwd });
    expect(ended).toMatchObject({ status: 0 });
    const made = await stored(join(cwd, "latents.safetensors"), "latents");
    compare(latents, made.shape, await readFloats(made));
    if (frames === undefined) return;
    const shown = await stored(join(cwd, "frames.safetensors"), "frames");
    const [count, height, width] = shown.shape;
    const planar = planes(await readFloats(shown), [count, height, width]);
    compare(frames, [1, count, 3, height, width], planar);
  }
});

test("all 44 cases have gone through the command line", () => {
  expect([...covered].sort()).toEqual(Object.keys(goldens).sort());
  expect(covered.size).toBe(44);
});

describe("inputs that do not fit are refused in a sentence:", () => {
  const folder = () => goldenCheckpoint({ vae: toyVae, scheduler: releasedScheduler });
  test.each<[string, string, TensorData, RegExp]>([
    [
      "vae-encode",
      "sample",
      { dtype: "U8", shape: [1, 3, 1, 8, 8], data: new Uint8Array(192) },
      /holds integers/,
    ],
    ["vae-encode", "sample", hashFloats([3, 8, 8], 1), /must have 5 axes, got \[3, 8, 8\]/],
    [
      "vae-encode",
      "sample",
      hashFloats([1, 3, 1, 4, 4], 1),
      /sides that are multiples of 8, got \[1, 3, 4, 4\]/,
    ],
    ["vae-decode", "latents", hashFloats([1, 4, 0, 2, 2], 1), /must be \[F, 4, h, w\], got \[0, 4, 2, 2\]/],
    ["vae-decode", "sample", hashFloats([1, 4, 1, 2, 2], 1), /latents is missing; --inputs has sample/],
    ["sampler", "sample", hashFloats([1, 4], 1), /model_output is missing; --inputs has sample/],
    ["add-noise", "noise", hashFloats([1, 4], 1), /original_samples is missing; --inputs has noise/],
  ])("%s of %s", async (model, name, tensor, says) => {
    const out = temporaryFolder();
    const [from, to] = [join(out, "in.safetensors"), join(out, "out.safetensors")];
    await writeSafetensors(from, { [name]: tensor });
    const args = [model, "--model", await folder(), "--inputs", from, "-o", to];
    const ended = await cogvideox(["forward", ...args]);
    expect(ended.stderr).toMatch(says);
    expect(ended.stderr).not.toMatch(/\n {4}at /);
    expect(readdirSync(out)).toEqual(["in.safetensors"]);
  });
});

/** Runs `forward` on these inputs and gives the file that it has written. */
async function forward(
  args: readonly string[],
  inputs: Readonly<Record<string, TensorData>>,
): Promise<string> {
  const out = temporaryFolder();
  const [from, to] = [join(out, "in.safetensors"), join(out, "out.safetensors")];
  await writeSafetensors(from, inputs);
  const ended = await cogvideox(["forward", ...args, "--inputs", from, "-o", to, "--json"]);
  expect(ended).toMatchObject({ status: 0 });
  expect(jsonLines(ended)).toMatchObject([
    { event: "done", seconds: expect.any(Number), peakRssMiB: expect.any(Number) },
  ]);
  return to;
}

/** The same, and holds one of the outputs to a case. */
async function hold(
  name: string,
  output: string,
  args: readonly string[],
  inputs: Readonly<Record<string, TensorData>>,
): Promise<void> {
  const result = await stored(await forward(args, inputs), output);
  compare(name, result.shape, await readFloats(result));
}

function compare(name: string, shape: readonly number[], values: Float32Array): void {
  expect(shape).toEqual(goldens[name].shape);
  holdToGolden(name, values);
  covered.add(name);
}

/** Hashed frames `[T, H, W, 3]` in [0, 1] of the reference's `[T, 3, H, W]`, which adds a half to them in float32. */
function floatFrames([count, , height, width]: readonly number[], key: number): TensorData {
  const plane = height * width;
  const source = hashInput([count, 3, height, width], key, 1);
  const data = source.map((_, i) => {
    const [t, pixel, c] = [Math.floor(i / 3 / plane), Math.floor(i / 3) % plane, i % 3];
    return source[(t * 3 + c) * plane + pixel] + 0.5;
  });
  return { dtype: "F32", shape: [count, height, width, 3], data };
}

/** Frames `[T, H, W, 3]` as `[T, 3, H, W]`. */
function planes(frames: Float32Array, [, height, width]: readonly number[]): Float32Array {
  const plane = height * width;
  return frames.map((_, i) => {
    const [t, c, pixel] = [Math.floor(i / 3 / plane), Math.floor(i / plane) % 3, i % plane];
    return frames[(t * plane + pixel) * 3 + c];
  });
}

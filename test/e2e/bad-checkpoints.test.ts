/** @file Every way in which a checkpoint can be broken is one sentence with the file, what is wrong and what to do. */
import { readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { copyCheckpoint, editJson, editTensors, writeRawTensors } from "../helpers/tiny-checkpoint.ts";

const weights = "transformer/diffusion_pytorch_model.safetensors";
const index = "transformer/diffusion_pytorch_model.safetensors.index.json";
const proj = "patch_embed.proj.weight";

type Break = (folder: string) => void | Promise<void>;
type Fault = readonly [what: string, file: string, damage: Break, says: RegExp];

const brokenFiles: readonly Fault[] = [
  ["is cut short", weights, (f) => truncateSync(join(f, weights), 100_000), /but the file holds \d+ bytes/],
  ["is empty", weights, (f) => truncateSync(join(f, weights), 0), /has 0 bytes/],
  [
    "has an oversized header",
    weights,
    (f) => {
      const bytes = Buffer.alloc(64);
      bytes.writeBigUInt64LE(200_000_000n);
      writeFileSync(join(f, weights), bytes);
    },
    /claims 200000000 bytes/,
  ],
  [
    "has overlapping tensors",
    weights,
    (f) =>
      writeRawTensors(
        join(f, weights),
        {
          a: { dtype: "F32", shape: [2], data_offsets: [0, 8] },
          b: { dtype: "F32", shape: [2], data_offsets: [4, 12] },
        },
        12,
      ),
    /overlaps/,
  ],
  [
    "has an unknown number format",
    weights,
    (f) => writeRawTensors(join(f, weights), { a: { dtype: "Q8", shape: [2], data_offsets: [0, 2] } }, 2),
    /"Q8"/,
  ],
  ["is missing", "transformer", (f) => rmSync(join(f, weights)), /holds no weights/],
  [
    "has integers for weights",
    "transformer",
    (f) =>
      editTensors(join(f, weights), (t) => {
        t[proj] = { dtype: "I16", shape: t[proj].shape, data: new Int16Array(t[proj].data.byteLength / 2) };
      }),
    /1 not of dtype F32, F16 or BF16 \("patch_embed\.proj\.weight" is I16\)/,
  ],
  [
    "lacks a key",
    "transformer",
    (f) =>
      editTensors(join(f, weights), (t) => {
        delete t[proj];
      }),
    /1 missing \("patch_embed\.proj\.weight"\)/,
  ],
  [
    "has a key too many",
    "transformer",
    (f) =>
      editTensors(join(f, weights), (t) => {
        t.surplus = { dtype: "F16", shape: [1], data: new Uint16Array(1) };
      }),
    /1 unexpected \("surplus"\)/,
  ],
  [
    "has a misshapen key",
    "transformer",
    (f) =>
      editTensors(join(f, weights), (t) => {
        t[proj] = { ...t[proj], shape: [t[proj].data.byteLength / 2] };
      }),
    /1 misshapen \("patch_embed\.proj\.weight" is \[1536\], the model needs \[48,8,2,2\]\)/,
  ],
];

describe("a weights file that", () => {
  test.each(brokenFiles)("%s", async (_, file, damage, says) => {
    await expectRefusal("t2v-sincos", 1, file, damage, says);
  });
});

const brokenIndexes: readonly Fault[] = [
  ["is no JSON", index, (f) => writeFileSync(join(f, index), "{"), /is not JSON/],
  [
    "names a file that is not there",
    index,
    (f) => editJson(join(f, index), { weight_map: { [proj]: "other.safetensors" } }),
    /names the shard "other\.safetensors", and no such file exists/,
  ],
  [
    "leads out of the folder",
    index,
    (f) => editJson(join(f, index), { weight_map: { [proj]: "../../x.safetensors" } }),
    /leads out of the checkpoint's folder/,
  ],
  [
    "places a tensor in the wrong file",
    index,
    (f) =>
      editJson(join(f, index), {
        weight_map: { nowhere: "diffusion_pytorch_model-00001-of-00002.safetensors" },
      }),
    /that file does not hold it/,
  ],
];

describe("an index that", () => {
  test.each(brokenIndexes)("%s", async (_, file, damage, says) => {
    await expectRefusal("t2v-rope", 1, file, damage, says);
  });
});

const badConfigs: readonly Fault[] = [
  ...(
    [
      [
        "names an unknown pipeline",
        "model_index.json",
        "StableDiffusionPipeline",
        /known are CogVideoXPipeline/,
      ],
      [
        "names an unknown model",
        "transformer/config.json",
        "UNet2DModel",
        /reads CogVideoXTransformer3DModel/,
      ],
      ["names an unknown VAE", "vae/config.json", "AutoencoderKL", /AutoencoderKLCogVideoX/],
      [
        "names an unknown scheduler",
        "scheduler/scheduler_config.json",
        "EulerDiscreteScheduler",
        /known are CogVideoXDDIMScheduler/,
      ],
    ] as const
  ).map(
    ([what, file, name, says]): Fault => [
      what,
      file,
      (f) => editJson(join(f, file), { _class_name: name }),
      new RegExp(`"${name}".*${says.source}`),
    ],
  ),
  [
    "has an impossible number",
    "transformer/config.json",
    (f) => editJson(join(f, "transformer/config.json"), { num_layers: -3 }),
    /num_layers is -3/,
  ],
  [
    "has a text where a number belongs",
    "text_encoder/config.json",
    (f) => editJson(join(f, "text_encoder/config.json"), { d_model: "large" }),
    /d_model is "large"/,
  ],
  [
    "is of another family of encoders",
    "text_encoder/config.json",
    (f) => editJson(join(f, "text_encoder/config.json"), { feed_forward_proj: "relu" }),
    /feed_forward_proj is "relu".*gated-gelu/,
  ],
  ["is missing", "vae/config.json", (f) => rmSync(join(f, "vae/config.json")), /is the checkpoint complete/],
  [
    "is cut short",
    "vae/config.json",
    (f) => truncateSync(join(f, "vae/config.json"), 40),
    /is not JSON.*write the file again/,
  ],
];

describe("a configuration that", () => {
  test.each(badConfigs)("%s", async (_, file, damage, says) => {
    await expectRefusal("t2v-sincos", 2, file, damage, says);
  });
});

test("a tokenizer that is missing is named", async () => {
  const damage: Break = (f) => rmSync(join(f, "tokenizer"), { recursive: true });
  await expectRefusal("t2v-rope", 2, "tokenizer", damage, /neither spiece\.model nor tokenizer\.json/);
});

test("NaN in the weights is found in the first segment whose result it spoils", async () => {
  const damage: Break = (f) =>
    editTensors(join(f, weights), (t) => {
      const key = "transformer_blocks.1.ff.net.0.proj.weight";
      t[key] = { ...t[key], data: new Uint16Array(t[key].data.byteLength / 2).fill(0x7e00) };
    });
  const says = /transformer_blocks\.1 is the first segment whose result is not finite/;
  await expectRefusal("t2v-sincos", 1, "", damage, says);
});

describe("inspect", () => {
  test("finds every fault of every component and exits with 1", async () => {
    const folder = copyCheckpoint("t2v-sincos");
    await editTensors(join(folder, weights), (t) => {
      delete t[proj];
      t.surplus = { dtype: "F16", shape: [1], data: new Uint16Array(1) };
      t["proj_out.bias"] = { ...t["proj_out.bias"], shape: [1, 32] };
    });
    editJson(join(folder, "text_encoder/config.json"), { num_layers: "many" });
    rmSync(join(folder, "scheduler/scheduler_config.json"));
    const ended = await cogvideox(["inspect", folder, "--json"]);
    expect(ended.status).toBe(1);
    const [report] = jsonLines(ended);
    expect(jsonLines(ended)).toHaveLength(1);
    expect(report).toMatchObject({
      kind: "checkpoint",
      pipelineClass: "CogVideoXPipeline",
      scheduler: null,
      components: {
        transformer: {
          keys: {
            missing: ['"patch_embed.proj.weight"'],
            unexpected: ['"surplus"'],
            misshapen: ['"proj_out.bias" is [1,32], the model needs [32]'],
          },
        },
        text_encoder: { config: null, weights: { tensors: 21 } },
        vae: { keys: { missing: [], unexpected: [], misshapen: [] } },
      },
    });
    expect(report.problems).toHaveLength(5);
  });

  test("says the same to people", async () => {
    const folder = copyCheckpoint("t2v-sincos");
    rmSync(join(folder, weights));
    const { status, stdout } = await cogvideox(["inspect", folder]);
    expect(status).toBe(1);
    expect(stdout).toContain("122,000 parameters");
    expect(stdout).toMatch(/1 problem:\n {2}.*transformer holds no weights/);
  });
});

/** Generates from a damaged copy: the status, one sentence with the file's name, and nothing left behind. */
async function expectRefusal(
  name: "t2v-rope" | "t2v-sincos",
  status: number,
  file: string,
  damage: Break,
  says: RegExp,
): Promise<void> {
  const folder = copyCheckpoint(name);
  await damage(folder);
  const out = temporaryFolder();
  const args = ["--model", folder, "--steps", "1", "--seed", "1", "-o", join(out, "clip.mp4")];
  const ended = await cogvideox([
    "generate",
    "A circle.",
    ...args,
    "--save-frames",
    join(out, "f.safetensors"),
  ]);
  expect(ended.stderr).toMatch(says);
  expect(ended.stderr).toContain(file === "" ? "error: " : join(folder, file));
  const lines = ended.stderr.trimEnd().split("\n");
  expect(lines.filter((line) => !line.startsWith("plan: "))).toHaveLength(1);
  expect(ended.status).toBe(status);
  expect(readdirSync(out)).toEqual([]);
}

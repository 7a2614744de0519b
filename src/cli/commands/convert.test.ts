/** @file `cogvideox convert` on recorded checkpoints. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cogvideox, jsonLines, temporaryFolder } from "../../../test/helpers/command-line.ts";
import { copyCheckpoint, editTensors, recorded } from "../../../test/helpers/tiny-checkpoint.ts";
import { openWeights, type WeightSet } from "../../weights/checkpoint.ts";
import { readBytes } from "../../weights/read.ts";
import { readHeader } from "../../weights/safetensors.ts";
import { writeSafetensors } from "../../weights/write.ts";

const model = recorded("t2v-rope");
const lora = join(process.cwd(), "test/fixtures/lora/attention");

async function digests({ tensors }: Pick<WeightSet, "tensors">): Promise<Record<string, string>> {
  const entries = [...tensors.values()].map(async (tensor) => {
    const hash = createHash("sha256").update(await readBytes(tensor));
    return [tensor.name, `${tensor.dtype} [${tensor.shape}] ${hash.digest("hex")}`] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

test("goes to SAT and back without a change, and leaves a configuration where there was one", async () => {
  const folder = temporaryFolder();
  const there = await cogvideox(["convert", model, join(folder, "sat"), "--to", "sat"]);
  expect(there).toMatchObject({ status: 0, stderr: "" });
  const sat = join(folder, "sat/mp_rank_00_model_states.safetensors");
  expect(there.stdout).toContain(sat);
  expect((await cogvideox(["convert", sat, join(folder, "back")])).status).toBe(0);
  const original = await openWeights(join(model, "transformer"));
  expect(await digests(await openWeights(join(folder, "back")))).toEqual(await digests(original));
  expect((await cogvideox(["convert", model, join(folder, "f16"), "--dtype", "f16"])).status).toBe(0);
  expect(readdirSync(join(folder, "f16")).sort()).toEqual([
    "config.json",
    "diffusion_pytorch_model.safetensors",
  ]);
});

test("a dry run lists what does not fit, writes nothing and fails; a real one is refused", async () => {
  const checkpoint = copyCheckpoint("t2v-sincos");
  const weights = join(checkpoint, "transformer/diffusion_pytorch_model.safetensors");
  await editTensors(weights, (tensors) => {
    tensors["something.new"] = tensors["norm_final.bias"];
    delete tensors["norm_final.bias"];
  });
  const out = join(checkpoint, "out");
  const dry = await cogvideox(["convert", weights, out, "--to", "sat", "--dry-run", "--json"]);
  expect(dry.status).toBe(1);
  expect(jsonLines(dry)).toMatchObject([
    {
      event: "plan",
      component: "transformer",
      from: "diffusers",
      to: "sat",
      unmatched: ["something.new"],
      missing: ["model.diffusion_model.transformer.final_layernorm.bias"],
    },
  ]);
  const real = await cogvideox(["convert", weights, out, "--to", "sat"]);
  expect(real.status).toBe(1);
  expect(real.stdout).toContain("not known in the source: something.new");
  expect(real.stderr).toContain("is no complete transformer in the layout of diffusers");
  expect(existsSync(out)).toBe(false);
});

test("overwrites nothing and writes no pickles", async () => {
  const folder = temporaryFolder();
  const out = join(folder, "vae.safetensors");
  const args = ["convert", model, out, "--component", "vae"];
  expect((await cogvideox(args)).status).toBe(0);
  const again = await cogvideox(args);
  expect(again).toMatchObject({ status: 2 });
  expect(again.stderr).toContain("exists already");
  const pickle = await cogvideox(["convert", model, join(folder, "vae.pt"), "--component", "vae"]);
  expect(pickle.stderr).toContain("only .safetensors is written");
  expect(readdirSync(folder)).toEqual(["vae.safetensors"]);
});

test("takes a LoRA to SAT and back with rank and alpha", async () => {
  const folder = temporaryFolder();
  const sat = join(folder, "sat.safetensors");
  const there = await cogvideox(["convert", lora, sat, "--to", "sat"]);
  expect(there).toMatchObject({ status: 0 });
  expect(there.stderr).toContain("set lora_alpha to 2 and r to 4");
  // SAT keeps no alpha in its files, so the one who converts back has to say it.
  expect((await cogvideox(["convert", sat, join(folder, "back"), "--alpha", "2"])).status).toBe(0);
  const original = await readHeader(join(lora, "pytorch_lora_weights.safetensors"));
  const back = await readHeader(join(folder, "back/pytorch_lora_weights.safetensors"));
  expect(await digests(back)).toEqual(await digests(original));
  expect(JSON.parse(back.metadata.lora_adapter_metadata)).toMatchObject({
    "transformer.r": 4,
    "transformer.lora_alpha": 2,
  });
});

test("fuses LoRAs only into a transformer that they fit", async () => {
  const folder = temporaryFolder();
  const out = join(folder, "out");
  const vae = await cogvideox(["convert", model, out, "--component", "vae", "--fuse-lora", lora]);
  expect(vae).toMatchObject({ status: 2 });
  expect(vae.stderr).toContain("adds to a transformer in the layout of diffusers, not to a vae");
  const file = join(folder, "wide.safetensors");
  const zeros = (shape: readonly number[]) => ({ dtype: "F32" as const, shape, data: new Float32Array(256) });
  await writeSafetensors(file, {
    "transformer_blocks.0.attn1.to_q.lora_A.weight": zeros([4, 64]),
    "transformer_blocks.0.attn1.to_q.lora_B.weight": zeros([64, 4]),
  });
  const wrong = await cogvideox(["convert", model, out, "--fuse-lora", `${file}:0.5`]);
  expect(wrong.status).toBe(1);
  expect(wrong.stderr).toContain("was made for another model");
  expect(existsSync(out)).toBe(false);
});

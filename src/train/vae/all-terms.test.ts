/** @file All terms of the loss on an image in one graph, followed downhill for a few steps, with the discriminator's turns. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { hashInput, hashWeights } from "../../../test/helpers/hash-fill.ts";
import { f32, i64, numbers } from "../../../test/helpers/host-tensor.ts";
import { gradients } from "../../autodiff/grad.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { Scope } from "../../nn/scope.ts";
import { Engine } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { adversarialTerm, discriminatorLoss } from "./adversarial.ts";
import { initialDiscriminator } from "./discriminator.ts";
import { vaeLoss } from "./loss.ts";
import { perceptualTerm, plainPerceptual } from "./perceptual.ts";

const config = parseVaeConfig(
  {
    block_out_channels: [4, 8],
    latent_channels: 2,
    layers_per_block: 1,
    norm_num_groups: 2,
    temporal_compression_ratio: 2,
  },
  "config.json",
);
const small = { channels: [4, 6, 8], temporalLevels: 1 };
const clipShape = [1, 3, 8, 8];

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("pixels come closer while the contest goes on, and the discriminator learns in its turns", async () => {
  const p = new Scope();
  const built = vaeSide(p);
  const reconstruction = input("reconstruction", clipShape);
  const contest = discriminatorLoss(p, { clip: input("clip", clipShape), reconstruction }, small);
  const sideOf = (pattern: RegExp) => [...p.declared.keys()].filter((key) => pattern.test(key));
  const vae = await stepper(p, built.loss, sideOf(/^(encoder|decoder)\./), {
    l1: built.parts.l1,
    reconstruction: built.reconstruction,
  });
  const discriminator = await stepper(p, contest.loss, sideOf(/^discriminator\./), contest.parts);
  const params = start(p);
  const feeds = {
    clip: f32(clipShape, [...hashInput(clipShape, 1, 1)]),
    noise: f32([1, 2, 4, 4], [...hashInput([1, 2, 4, 4], 2, 1)]),
    frame: i64([1], [0]),
    gate: f32([], [1]),
  };
  const l1: number[] = [];
  const apart: number[] = [];
  for (let turn = 0; turn < 5; turn++) {
    const made = await vae({ ...params, ...feeds }, params, 0.05);
    l1.push(made.l1[0]);
    const fed = { ...params, ...feeds, reconstruction: f32(clipShape, made.reconstruction) };
    const judged = await discriminator(fed, params, 0.02);
    apart.push(judged.recorded[0] - judged.made[0]);
  }
  expect(l1.at(-1)).toBeLessThan(0.95 * l1[0]);
  expect(apart.at(-1)).toBeGreaterThan(apart[0]);
});

function vaeSide(p: Scope) {
  const sample = { clip: input("clip", clipShape), noise: input("noise", [1, 2, 4, 4]) };
  const terms = {
    perceptual: perceptualTerm(plainPerceptual(), input("frame", [1], "i64")),
    adversarial: adversarialTerm(input("gate", []), small),
  };
  return vaeLoss(p, sample, config, { l2: 0.5 }, terms);
}

/** A session that gives the loss and more, and moves the parameters of one side by -rate · gradient. */
async function stepper(p: Scope, loss: Tensor, keys: readonly string[], more: Record<string, Tensor>) {
  const slopes = gradients(
    loss,
    keys.map((key) => p.declared.get(key)!),
  );
  const entries = keys.map((key, i) => [`grad ${key}`, slopes[i]] as const);
  const model = toOnnx({ loss, ...more, ...Object.fromEntries(entries) });
  const session = await engine.load("one side", model);
  const wanted = new Set(model.inputs.map(({ name }) => name));
  return async (feeds: Record<string, HostTensor>, params: Record<string, HostTensor>, rate: number) => {
    const used = Object.fromEntries(Object.entries(feeds).filter(([name]) => wanted.has(name)));
    const found: Record<string, number[]> = {};
    for (const [name, y] of Object.entries(await engine.run(session, used)))
      found[name] = numbers(await engine.download(y));
    for (const key of keys)
      params[key] = f32(
        params[key].shape,
        numbers(params[key]).map((value, i) => value - rate * found[`grad ${key}`][i]),
      );
    return found;
  };
}

function start({ declared }: Scope): Record<string, HostTensor> {
  const shapes = Object.fromEntries([...declared].map(([key, { shape }]) => [key, shape]));
  const values = new Map<string, Float32Array>(hashWeights(shapes));
  for (const [key, { data }] of initialDiscriminator(small, 5)) values.set(key, data);
  return Object.fromEntries([...values].map(([key, data]) => [key, f32(shapes[key], [...data])]));
}

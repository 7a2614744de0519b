/** @file The contest against numbers worked out by hand, and where its gradients go. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runModel } from "../../../test/helpers/central-differences.ts";
import { hashInput } from "../../../test/helpers/hash-fill.ts";
import { f32, numbers } from "../../../test/helpers/host-tensor.ts";
import { runGraph } from "../../../test/helpers/run-graph.ts";
import { gradients, gradientsOrNull } from "../../autodiff/grad.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { emit, input, type Tensor } from "../../graph/tensor.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { Scope } from "../../nn/scope.ts";
import { Engine } from "../../runtime/engine.ts";
import {
  adaptiveWeight,
  adversarialTerm,
  contestLoss,
  discriminatorLoss,
  gateAt,
  turnAt,
} from "./adversarial.ts";
import { LAST_KERNEL } from "./codec.ts";
import { discriminator, initialDiscriminator } from "./discriminator.ts";
import { vaeLoss } from "./loss.ts";

const small = { channels: [4, 6, 8], temporalLevels: 1 };

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

const one = async (build: (...x: Tensor[]) => Tensor, ...feeds: number[][]): Promise<number[]> =>
  numbers(
    await runGraph(
      engine,
      build,
      feeds.map((feed) => f32([feed.length], feed)),
    ),
  );

describe("the discriminator's loss", () => {
  test("is ½ (mean max(0, 1 - D(x)) + mean max(0, 1 + D(x̂))) with hinges", async () => {
    // recorded: max(0, 0.5), max(0, -1) -> 0.25; made: max(0, 1.25), max(0, -0.5), max(0, 1) -> 0.75
    expect(await one((x, y) => contestLoss(x, y), [0.5, 2], [0.25, -1.5, 0])).toEqual([0.5]);
  });

  test("is ½ (mean log(1 + e⁻ᴰ⁽ˣ⁾) + mean log(1 + eᴰ⁽ˣ̂⁾)) for vanilla, also where e⁹⁹ overflows", async () => {
    const vanilla = (x: Tensor, y: Tensor) => contestLoss(x, y, "vanilla");
    expect((await one(vanilla, [0], [0]))[0]).toBeCloseTo(Math.log(2), 6);
    expect((await one(vanilla, [Math.log(3)], [Math.log(3)]))[0]).toBeCloseTo(
      (Math.log(4 / 3) + Math.log(4)) / 2,
      6,
    );
    expect((await one(vanilla, [-99], [99]))[0]).toBeCloseTo(99, 4);
  });
});

describe("the weight that balances", () => {
  test("is the ratio of the gradients' lengths", async () => {
    expect((await one(adaptiveWeight, [3, 4], [0, 0.4999]))[0]).toBeCloseTo(10, 4);
  });

  test("divides by at least 1e-4 and ends at 1e4", async () => {
    expect((await one(adaptiveWeight, [0, 0.5], [0, 0]))[0]).toBeCloseTo(5000, 0);
    expect(await one(adaptiveWeight, [3, 4], [0, 0])).toEqual([1e4]);
  });
});

describe("the start", () => {
  test("closes the gate before the start step and opens it from there on", () => {
    expect([0, 4999, 5000, 5001].map((step) => gateAt(step, 5000))).toEqual([0, 0, 1, 1]);
  });

  test("trains the VAE alone before it and both by turns after it", () => {
    const turns = [0, 1, 2, 3, 4, 5, 6].map((step) => turnAt(step, 3));
    expect(turns).toEqual(["vae", "vae", "vae", "discriminator", "vae", "discriminator", "vae"]);
  });
});

test("the VAE's term is gate · weight · λ · -mean(D(x̂)), with that factor on its gradient", async () => {
  const shape = [1, 3, 8, 8];
  const p = new Scope();
  const base = input("base", shape);
  const gate = input("gate", []);
  // A decoder of one parameter: every value is the base times it, so that gradients at it are dot products.
  const kernel = emit("Param", [], { key: LAST_KERNEL, shape: [1] });
  p.declared.set(LAST_KERNEL, kernel);
  const x = base.mul(kernel);
  const supervised = x.sum([0, 1, 2, 3]).mul(0.01);
  const term = adversarialTerm(gate, small, 0.1)(x, supervised, p);
  const plain = discriminator(p, x, small).mean([0, 1, 2, 3]).neg();
  const outputs = {
    term,
    slope: gradients(term, [kernel])[0],
    plain,
    plainSlope: gradients(plain, [kernel])[0],
    supervisedSlope: gradients(supervised, [kernel])[0],
  };
  const feeds = {
    ...discriminatorFeeds(),
    [LAST_KERNEL]: f32([1], [0.7]),
    base: { dtype: "f32", shape, data: hashInput(shape, 3, 2) } as const,
  };
  const model = toOnnx(outputs);
  const open = await runModel(engine, model, { ...feeds, gate: f32([], [1]) });
  const lambda = Math.abs(open.supervisedSlope[0]) / (Math.abs(open.plainSlope[0]) + 1e-4);
  expect(lambda).toBeGreaterThan(0);
  expect(open.term[0] / (0.1 * lambda * open.plain[0])).toBeCloseTo(1, 4);
  expect(open.slope[0] / (0.1 * lambda * open.plainSlope[0])).toBeCloseTo(1, 4);
  const closed = await runModel(engine, model, { ...feeds, gate: f32([], [0]) });
  expect([closed.term[0], closed.slope[0]].map(Math.abs)).toEqual([0, 0]);
});

describe("gradients", () => {
  const { p, vae, contest } = both();
  const keysOf = (side: RegExp) => [...p.declared.keys()].filter((key) => side.test(key));
  const arriving = (loss: Tensor, side: RegExp) => {
    const keys = keysOf(side);
    const found = gradientsOrNull(
      loss,
      keys.map((key) => p.declared.get(key)!),
    );
    return keys.filter((_, i) => found[i] !== null);
  };

  test("of the discriminator's loss reach all of the discriminator and nothing of the VAE", () => {
    expect(arriving(contest, /^discriminator\./)).toEqual(keysOf(/^discriminator\./));
    expect(arriving(contest, /^(encoder|decoder)\./)).toEqual([]);
  });

  test("of the VAE's loss reach all of the VAE, and nothing of the discriminator", () => {
    expect(arriving(vae, /^(encoder|decoder)\./)).toEqual(keysOf(/^(encoder|decoder)\./));
    expect(arriving(vae, /^discriminator\./)).toEqual([]);
  });
});

/** Both losses of a small VAE in one scope, the reconstruction passed from one to the other within the graph. */
function both() {
  const json = { block_out_channels: [4, 8], latent_channels: 2, layers_per_block: 1, norm_num_groups: 2 };
  const config = parseVaeConfig({ ...json, temporal_compression_ratio: 2 }, "config.json");
  const p = new Scope();
  const [clip, noise, gate] = [input("clip", [5, 3, 4, 4]), input("noise", [3, 2, 2, 2]), input("gate", [])];
  const { loss, reconstruction } = vaeLoss(
    p,
    { clip, noise },
    config,
    {},
    {
      adversarial: adversarialTerm(gate, small),
    },
  );
  const contest = discriminatorLoss(p, { clip, reconstruction }, small).loss;
  return { p, vae: loss, contest };
}

function discriminatorFeeds() {
  const values = initialDiscriminator(small, 5);
  return Object.fromEntries([...values].map(([key, value]) => [key, { dtype: "f32", ...value } as const]));
}

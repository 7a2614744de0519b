/** @file Gradients against PyTorch's of the pieces that our models build otherwise than PyTorch does. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as ops from "../../src/graph/functions.ts";
import { constant, type Tensor } from "../../src/graph/tensor.ts";
import { causalConv, type Prepare } from "../../src/models/vae/causal-conv.ts";
import { type Clip, fromClip, mapGroups, toClip } from "../../src/models/vae/frames.ts";
import { normSilu, spatialNormSilu } from "../../src/models/vae/norm.ts";
import { downsample, upsample } from "../../src/models/vae/resample.ts";
import { Scope } from "../../src/nn/scope.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { byRules, relativeError } from "../helpers/central-differences.ts";
import { hashInput } from "../helpers/hash-fill.ts";
import { hashed } from "../helpers/host-tensor.ts";

type Recorded = {
  readonly inputs: readonly (readonly number[])[];
  readonly gradients: Readonly<Record<string, readonly number[]>>;
};

const recorded: Readonly<Record<string, Recorded>> = JSON.parse(
  readFileSync("test/fixtures/training/rules.json", "utf8"),
);

/** Of as many tensors as the recorded case has inputs. */
type Build = (...x: Tensor[]) => Tensor;

const norm = { groups: 2, eps: 1e-6 };
const caches = { before: null, after: new Map(), keep: false };
const i64 = (values: readonly number[], shape: readonly number[]) =>
  constant(BigInt64Array.from(values, BigInt), shape, "i64");

/** A place in the parameters where these tensors are already declared. */
const scopeOf = (declared: Readonly<Record<string, Tensor>>) =>
  new Scope("", new Map(Object.entries(declared)));

const applied = (clip: Clip, prepare: Prepare) => fromClip(mapGroups(clip, prepare));

const convolved: Build = (x, weight, bias, before) => {
  const known = before === undefined ? caches : { ...caches, before: () => before };
  const p = scopeOf({ "conv.weight": weight, "conv.bias": bias });
  return fromClip(causalConv(p, toClip(x, 1), weight.dim(0), known));
};

const groupNorm: Build = (x, weight, bias) => {
  const clip = toClip(x, 1);
  return applied(clip, normSilu(scopeOf({ weight, bias }), clip, norm));
};

const spatialNorm: Build = (x, latents, weight, bias, scale, scaleBias, shift, shiftBias) => {
  const clip = toClip(x, 1);
  const p = scopeOf({
    "norm_layer.weight": weight,
    "norm_layer.bias": bias,
    "conv_y.conv.weight": scale,
    "conv_y.conv.bias": scaleBias,
    "conv_b.conv.weight": shift,
    "conv_b.conv.bias": shiftBias,
  });
  return applied(clip, spatialNormSilu(p, clip, latents, norm));
};

const resampled =
  (resample: typeof downsample): Build =>
  (x, weight, bias) =>
    fromClip(resample(scopeOf({ "conv.weight": weight, "conv.bias": bias }), toClip(x, 1), true));

/** Keys that a mask hides keep every other gradient finite. */
const hidden = constant(
  Float32Array.of(0, 0, Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY),
  [1, 1, 1, 5],
);

const angles = (of: (angle: number) => number) =>
  constant(Float32Array.from(hashInput([2, 3, 2], 7), of), [2, 3, 2]);

const cases: Readonly<Record<string, Build>> = {
  "causal convolution of 1": convolved,
  "causal convolution of 2": convolved,
  "causal convolution of 3": convolved,
  "causal convolution of 5": convolved,
  "causal convolution of 8": convolved,
  "causal convolution of 1 behind others": convolved,
  "causal convolution of 3 behind others": convolved,
  "causal convolution of 4 behind others": convolved,
  "group norm and silu": groupNorm,
  "group norm far from zero": (x, ...affine) => groupNorm(x.add(20), ...affine),
  "spatial norm of odd frames": spatialNorm,
  "spatial norm of even frames": spatialNorm,
  "downsampling odd frames": resampled(downsample),
  "downsampling even frames": resampled(downsample),
  "upsampling odd frames": resampled(upsample),
  "upsampling even frames": resampled(upsample),
  "gather of an inner axis": (x) => ops.gather(x, i64([3, 1, 3, 0, 3, 1], [2, 3]), 1),
  "gather counting from the end": (x) => ops.gather(x, i64([-1, 0, 3, -1], [4])),
  "scatterAdd repeated": (x, updates) => ops.scatterAdd(x, i64([1, 3, 1, 1, 0], [5, 1]), updates),
  "attention bias per key": (q, k, v, bias) =>
    ops.attention([q, k, v], 3, { bias: bias.expand([2, 1, 4, 5]) }),
  "attention bias of all heads": (q, k, v, bias) => ops.attention([q, k, v], 3, { bias, scale: 0.7 }),
  "attention with keys hidden": (q, k, v) =>
    ops.attention([q, k, v], 3, { bias: hidden.expand([1, 1, 4, 5]) }),
  "rotary rows per sample": (x) => ops.rotary(x, angles(Math.cos), angles(Math.sin), 2),
  "silu saturated": (x) => ops.silu(x.mul(50)),
  "geluTanh saturated": (x) => ops.geluTanh(x.mul(10)),
  "softmax saturated": (x) => ops.softmax(x.mul(20)),
};

/** The variance is a mean of squares less a squared mean: far from zero few of float32's digits are left of it. */
const tolerances: Readonly<Record<string, number>> = { "group norm far from zero": 1e-4 };

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("every recorded gradient has a test", () => {
  expect(Object.keys(cases)).toEqual(Object.keys(recorded));
});

test.each(Object.entries(cases))("%s", async (name, build) => {
  const { inputs, gradients } = recorded[name];
  const found = await byRules(engine, build, inputs.map(hashed));
  expect(Object.keys(found)).toEqual(Object.keys(gradients));
  const errors = Object.keys(found).map((key) => [key, relativeError(found[key], gradients[key])] as const);
  const tolerance = tolerances[name] ?? 5e-6;
  expect(errors.filter(([, error]) => !(error < tolerance))).toEqual([]);
});

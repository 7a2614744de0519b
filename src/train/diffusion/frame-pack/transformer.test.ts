/** @file A packed row against its samples one by one: predictions, losses, gradients, and no leaks in between. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runModel } from "../../../../test/helpers/central-differences.ts";
import { hashWeights } from "../../../../test/helpers/hash-fill.ts";
import { f32, hashed, numbers } from "../../../../test/helpers/host-tensor.ts";
import { gradients } from "../../../autodiff/grad.ts";
import { toOnnx } from "../../../graph/onnx.ts";
import { input, type Tensor } from "../../../graph/tensor.ts";
import { parseTransformerConfig, type TransformerConfig } from "../../../models/transformer/config.ts";
import type { LatentSize } from "../../../models/transformer/grid.ts";
import { sincosRows } from "../../../models/transformer/positions/sincos.ts";
import { Scope } from "../../../nn/scope.ts";
import { Engine } from "../../../runtime/engine.ts";
import type { HostTensor } from "../../../runtime/protocol.ts";
import { paddedSize } from "../temporal-padding.ts";
import { packedRotary, type RowLayout, rowLayout } from "./layout.ts";
import { lossWeights, packedLoss } from "./loss.ts";

const TEXT = 3;
const base = {
  num_attention_heads: 2,
  attention_head_dim: 16,
  in_channels: 4,
  out_channels: 4,
  time_embed_dim: 8,
  text_embed_dim: 6,
  num_layers: 2,
  max_text_seq_length: TEXT,
};
const rotary = { ...base, use_rotary_positional_embeddings: true };
const variants = {
  sines: base,
  rotations: rotary,
  "temporal patches, an image and ofs": {
    ...rotary,
    patch_size_t: 2,
    in_channels: 8,
    ofs_embed_dim: 8,
  },
};

/** An image, a clip and a clip of another size. */
const sizes: readonly LatentSize[] = [
  { frames: 1, height: 4, width: 4 },
  { frames: 3, height: 4, width: 6 },
  { frames: 2, height: 8, width: 4 },
];
const all = [0, 1, 2];

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

describe.each(Object.entries(variants))("with %s", (_, json) => {
  test("a packed row gives the losses and gradients of its samples one by one", async () => {
    const packed = await run(json, all, { weights: lossWeights([1, 1, 1]), differentiate: true });
    const alone: Awaited<ReturnType<typeof run>>[] = [];
    for (const i of all)
      alone.push(await run(json, [i], { weights: Float32Array.of(1 / 3), differentiate: true }));
    expect(packed.perSample).toBeCloseToArray(
      alone.map((one) => one.perSample[0]),
      { rtol: 1e-5, atol: 0 },
    );
    expect(packed.loss[0]).toBeCloseTo(
      alone.reduce((sum, one) => sum + one.loss[0], 0),
      4,
    );
    const added = Object.keys(packed.grads).map((key) => {
      const sum = packed.grads[key].map((_, at) =>
        alone.reduce((total, one) => total + one.grads[key][at], 0),
      );
      return [key, sum] as const;
    });
    expect(worstError(packed.grads, Object.fromEntries(added))).toBeLessThan(1e-5);
  });
});

test("no sample sees another: whatever one holds, the losses of the others stay the same to the last bit", async () => {
  const before = await run(rotary, all);
  const after = await run(rotary, all, { changed: 1 });
  expect([after.perSample[0], after.perSample[2]]).toEqual([before.perSample[0], before.perSample[2]]);
  expect(after.perSample[1]).not.toBeCloseTo(before.perSample[1], 3);
});

test("the order of the samples in a row does not matter", async () => {
  const { perSample } = await run(rotary, all);
  const turned = await run(rotary, [2, 0, 1]);
  expect(turned.perSample).toBeCloseToArray([perSample[2], perSample[0], perSample[1]], {
    rtol: 1e-5,
    atol: 0,
  });
});

test("rows add up to the step: by sample as without packing, by token as one long clip", async () => {
  const tokens = sizes.map(({ frames, height, width }) => (frames * height * width) / 4);
  const { perSample } = await run(rotary, all);
  const expected = {
    "per-sample": perSample.reduce((a, b) => a + b, 0) / 3,
    "per-token":
      perSample.reduce((sum, loss, i) => sum + loss * tokens[i], 0) / tokens.reduce((a, b) => a + b, 0),
  };
  for (const normalization of ["per-sample", "per-token"] as const) {
    const weights = lossWeights(tokens, normalization);
    const first = await run(rotary, [1, 0], { weights: Float32Array.of(weights[1], weights[0]) });
    const second = await run(rotary, [2], { weights: weights.slice(2) });
    expect(first.loss[0] + second.loss[0]).toBeCloseTo(expected[normalization], 4);
  }
  expect(() => lossWeights([])).toThrow("a step without samples");
});

type Options = {
  readonly weights?: Float32Array;
  /** A sample that holds something else. */
  readonly changed?: number;
  readonly differentiate?: boolean;
};

/** Loss, losses and gradients of a row with these samples. */
async function run(json: object, samples: readonly number[], options: Options = {}) {
  const config = parseTransformerConfig(json, "config.json");
  const padded = samples.map((i) => paddedSize(sizes[i], config.patchT));
  const layout = rowLayout(config, padded, TEXT);
  const feeds: Record<string, HostTensor> = {};
  const feed: Feed = (name, tensor) => {
    feeds[name] = tensor;
    return input(name, tensor.shape, tensor.dtype);
  };
  const p = new Scope();
  const x = {
    ...rowInputs(feed, samples, padded, options),
    ...conditions(feed, samples, padded, config, options),
  };
  const graph = packedLoss(p, { ...x, ...positions(feed, samples, layout, config) }, config, layout);
  const keys = options.differentiate ? [...p.declared.keys()] : [];
  const found = gradients(
    graph.loss,
    keys.map((key) => p.declared.get(key)!),
  );
  const outputs = { ...Object.fromEntries(keys.map((key, i) => [key, found[i]])), ...graph };
  const { loss, perSample, ...grads } = await runModel(engine, toOnnx(outputs), {
    ...feeds,
    ...weightsOf(p),
  });
  return { loss, perSample, grads };
}

type Feed = (name: string, tensor: HostTensor) => Tensor;

/** Clips of every sample, the same ones wherever they lie; those of sample `changed` are others. */
function clips(
  feed: Feed,
  name: string,
  key: number,
  samples: readonly number[],
  list: readonly LatentSize[],
  changed = -1,
) {
  return samples.map((i, at) => {
    const { frames, height, width } = list[at];
    return feed(`${name} ${i}`, hashed([1, frames, 4, height, width], key + i + (i === changed ? 50 : 0)));
  });
}

function rowInputs(
  feed: Feed,
  samples: readonly number[],
  padded: readonly LatentSize[],
  { weights, changed }: Options,
) {
  const rate = (f: (angle: number) => number) =>
    f32(
      [samples.length],
      samples.map((i) => f(0.4 * (i + 1))),
    );
  const own = samples.map((i) => sizes[i]);
  return {
    latents: clips(feed, "latents", 10, samples, own, changed),
    noise: clips(feed, "noise", 20, samples, padded, changed),
    signal: feed("signal", rate(Math.cos)),
    sigma: feed("sigma", rate(Math.sin)),
    weights: feed("weights", f32([samples.length], [...(weights ?? samples.map(() => 1))])),
  };
}

function conditions(
  feed: Feed,
  samples: readonly number[],
  padded: readonly LatentSize[],
  config: TransformerConfig,
  { changed }: Options,
) {
  const rows = (name: string, shape: readonly number[], key: number) => {
    const data = samples.flatMap((i) => numbers(hashed(shape, key + i + (i === changed ? 50 : 0))));
    return feed(name, f32([samples.length, ...shape], data));
  };
  return {
    timestep: rows("timestep", [config.width], 30),
    text: rows("text", [TEXT, 6], 40),
    ...(config.inChannels === 8 ? { condition: clips(feed, "condition", 50, samples, padded) } : {}),
    ...(config.ofsDim ? { ofs: rows("ofs", [config.ofsDim], 60) } : {}),
  };
}

function positions(
  feed: Feed,
  samples: readonly number[],
  layout: RowLayout,
  { rotary, width, headDim }: TransformerConfig,
) {
  if (rotary) {
    const shape = [1, layout.textTokens + layout.videoTokens, headDim / 2];
    const { cos, sin } = packedRotary(layout, headDim);
    return { rotation: { cos: feed("cos", f32(shape, [...cos])), sin: feed("sin", f32(shape, [...sin])) } };
  }
  const tables = layout.segments.map(({ grid }, at) => {
    const table = sincosRows(grid, TEXT, width, { spatial: 1.875, temporal: 1 });
    return feed(`positions ${samples[at]}`, f32([1, table.length / width, width], [...table]));
  });
  return { positions: tables };
}

function weightsOf(p: Scope): Record<string, HostTensor> {
  const shapes = Object.fromEntries([...p.declared].map(([key, { shape }]) => [key, shape]));
  const values = [...hashWeights(shapes)];
  return Object.fromEntries(values.map(([key, data]) => [key, { dtype: "f32", shape: shapes[key], data }]));
}

/** The largest difference, relative to the largest gradient of the parameter or 1 % of the largest one of all. */
function worstError(found: Gradients, expected: Gradients): number {
  const largest = (values: readonly number[]) => Math.max(...values.map(Math.abs));
  const overall = Math.max(...Object.values(expected).map(largest));
  const errors = Object.entries(expected).map(
    ([key, values]) =>
      largest(values.map((value, i) => value - found[key][i])) / Math.max(largest(values), overall / 100),
  );
  return Math.max(...errors);
}

type Gradients = Readonly<Record<string, readonly number[]>>;

/** @file Tests of the closed forms against what the gradients' own graphs hold, and of what to change when it is too much. */
import { expect, test } from "vitest";
import { heldBytes } from "../../../test/helpers/held-bytes.ts";
import { gradients } from "../../autodiff/grad.ts";
import { simplify } from "../../graph/rewrite.ts";
import { sizeOf } from "../../graph/shape.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { t5Encode } from "../../models/t5/encoder.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { Scope } from "../../nn/scope.ts";
import { availableMemory } from "../../runtime/memory.ts";
import { textToVideoGraph } from "../tasks/text-to-video.ts";
import { latentShape } from "../vae/codec.ts";
import { vaeLoss } from "../vae/loss.ts";
import {
  memoryObstacle,
  type TrainingSize,
  textActivations,
  trainingMemory,
  transformerActivations,
  vaeActivations,
} from "./memory-estimate.ts";

/** Bytes alive at once in the graph of a loss and its gradients, without the gradients. */
function heldBy(loss: Tensor, params: ReadonlyMap<string, Tensor>): number {
  const found = gradients(loss, [...params.values()]);
  const named = Object.fromEntries(found.map((gradient, i) => [`gradient/${i}`, gradient]));
  const outputs = simplify({ loss, ...named });
  return heldBytes(outputs) - found.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
}

test.each([
  ["few tokens", { layers: 4, frames: 3, side: 16, rotary: true }],
  ["added positions", { layers: 4, frames: 3, side: 16, rotary: false }],
  ["more blocks", { layers: 8, frames: 5, side: 16, rotary: true }],
  ["attention in tiles", { layers: 4, frames: 13, side: 32, rotary: true }],
])("is near what the transformer's gradient graph holds: %s", (_, { layers, frames, side, rotary }) => {
  const config = parseTransformerConfig(
    {
      num_attention_heads: 4,
      attention_head_dim: 32,
      num_layers: layers,
      time_embed_dim: 16,
      text_embed_dim: 16,
      max_text_seq_length: 16,
      use_rotary_positional_embeddings: rotary,
      sample_width: side,
      sample_height: side,
      sample_frames: 4 * frames - 3,
    },
    "config.json",
  );
  const batch = 4;
  const call = { frames, height: side, width: side, textLength: 16, batch };
  const { graph } = textToVideoGraph(config, call, null);
  const tokens = 16 + (frames * side ** 2) / 4;
  const attended = { samples: batch, tokens };
  const estimate = transformerActivations(config, { tokens: batch * tokens, attended });
  const ratio = estimate / heldBy(graph.loss, graph.params);
  expect(ratio).toBeGreaterThan(0.85);
  expect(ratio).toBeLessThan(1.2);
});

test("is near what a text encoder that learns holds", () => {
  const t5 = { d_model: 64, d_kv: 16, num_heads: 4, d_ff: 96, num_layers: 4, vocab_size: 50 };
  const config = parseT5Config({ ...t5, feed_forward_proj: "gated-gelu" }, "config.json");
  const p = new Scope();
  const loss = t5Encode(p, input("ids", [8, 20], "i32"), config).mean([0, 1, 2]);
  const ratio = textActivations(config, 8, 20) / heldBy(loss, p.declared);
  expect(ratio).toBeGreaterThan(0.85);
  expect(ratio).toBeLessThan(1.2);
});

test.each([
  [17, 64, [16, 32, 32, 64], 2],
  [9, 96, [16, 32, 64], 1],
])(
  "is near what the VAE's gradient graph holds: %d frames of %d pixels",
  (frames, side, channels, layers) => {
    const config = parseVaeConfig(
      { block_out_channels: channels, latent_channels: 4, layers_per_block: layers, norm_num_groups: 4 },
      "config.json",
    );
    const p = new Scope();
    const clip = input("clip", [frames, 3, side, side]);
    const noise = input("noise", latentShape([frames, 3, side, side], config));
    const { loss } = vaeLoss(p, { clip, noise }, config);
    const ratio = vaeActivations(config, { frames, height: side, width: side }) / heldBy(loss, p.declared);
    expect(ratio).toBeGreaterThan(0.85);
    expect(ratio).toBeLessThan(1.2);
  },
);

const mib = 2 ** 20;
const size: TrainingSize = {
  parameters: 25 * mib,
  average: true,
  batch: 8,
  microBatches: 1,
  activations: (clips) => clips * 100 * mib,
};

test("counts weights, moments, average, gradients and activations in bytes", () => {
  expect(trainingMemory(size)).toEqual({
    weights: 100 * mib,
    moments: 200 * mib,
    average: 100 * mib,
    gradients: 100 * mib,
    activations: 800 * mib,
    update: 400 * mib,
    peak: (150 + 400 + 100 + 800) * mib,
  });
});

test("counts old and new state at once where activations are small", () => {
  expect(trainingMemory({ ...size, batch: 1 }).peak).toBe((150 + 400 + 100 + 400) * mib);
});

test("counts weights, gradients and activations of every engine", () => {
  const two = { ...size, microBatches: 2, engines: 2 };
  expect(trainingMemory(two).peak).toBe((2 * 150 + 100 + 400 + 300 + 1600) * mib);
});

test("has nothing against a run that fits", () => {
  expect(memoryObstacle(size, 1450 * mib)).toBeNull();
});

test("names the micro-batches that fit", () => {
  expect(memoryObstacle(size, 1250 * mib)).toBe(
    "training takes about 1.4 GiB of memory, and 1.2 GiB are free; micro-batches of 5 instead of 8 would fit, " +
      "2 of them a step for the same numbers",
  );
});

test("names recompute where that fits, with a smaller batch where it must", () => {
  const change = "recompute: true";
  const alternatives = [{ change, size: { activations: (clips: number) => clips * 20 * mib } }];
  expect(memoryObstacle({ ...size, alternatives }, 1250 * mib)).toBe(
    "training takes about 1.4 GiB of memory, and 1.2 GiB are free; micro-batches of 5 instead of 8 would fit, " +
      "2 of them a step for the same numbers, or recompute: true would fit with 1.0 GiB",
  );
  const long = { ...size, activations: (clips: number) => clips * 5000 * mib };
  const less = [{ change, size: { activations: (clips: number) => clips * 500 * mib } }];
  expect(memoryObstacle({ ...long, alternatives: less }, 2500 * mib)).toContain(
    "free; recompute: true with micro-batches of 3 would fit",
  );
});

test("counts gradients and new state of one link where a step goes link by link, beside the activations", () => {
  const linked = { ...size, largestLink: 5 * mib };
  expect(trainingMemory(linked)).toMatchObject({ gradients: 20 * mib, update: 80 * mib });
  expect(trainingMemory(linked).peak).toBe((150 + 400 + 20 + 800 + 80) * mib);
  // Then a copy of the state, to be saved, is more.
  expect(trainingMemory({ ...linked, batch: 1 }).peak).toBe((150 + 400 + 400) * mib);
  const added = { ...linked, microBatches: 2 };
  expect(trainingMemory(added)).toEqual(trainingMemory({ ...added, largestLink: 25 * mib }));
});

test("names the first alternative that fits", () => {
  const alternatives = [
    { change: "recompute: true", size: { activations: () => 100 * mib } },
    {
      change: "recompute: true with clip: null",
      size: { activations: () => 100 * mib, largestLink: 5 * mib },
    },
  ];
  expect(memoryObstacle({ ...size, alternatives }, 1000 * mib)).toMatch(
    /free; recompute: true with clip: null would fit with 950 MiB$/,
  );
});

test("counts copies of weights that a micro-batch holds, on every engine", () => {
  const bare = trainingMemory({ ...size, microBatches: 2, engines: 2 });
  const more = trainingMemory({ ...size, microBatches: 2, engines: 2, copies: 7 * mib });
  expect(more.peak - bare.peak).toBe(14 * mib);
});

test("says when one clip is too much, and when the weights are", () => {
  const long = { ...size, activations: (clips: number) => clips * 5000 * mib };
  expect(memoryObstacle(long, 3000 * mib)).toContain("choose fewer frames or a smaller resolution");
  expect(memoryObstacle(size, 500 * mib)).toContain(
    "the weights and the optimiser's state alone take 1.0 GiB",
  );
});

test("knows what is left on this machine", () => {
  expect(availableMemory()).toBeGreaterThan(0);
});

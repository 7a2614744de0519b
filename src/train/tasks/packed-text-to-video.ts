/** @file The model over packed rows as something to train: the loss of a row of clips of any sizes, and its feeds. */
// n samples, F_i latent frames, C and C' channels, H_i and W_i latent height and width, T text tokens, N_i and S tokens
import type { NoiseSchedule } from "../../diffusion/schedule.ts";
import type { Shape } from "../../graph/shape.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { conditionChannels, type TransformerConfig } from "../../models/transformer/config.ts";
import type { LatentSize } from "../../models/transformer/grid.ts";
import { type Positions, positionsFor } from "../../models/transformer/positions/positions.ts";
import { Scope } from "../../nn/scope.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { packedRotary, type RowLayout, rowLayout } from "../diffusion/frame-pack/layout.ts";
import { type PackedMixture, packedLoss } from "../diffusion/frame-pack/loss.ts";
import type { PackedConditions } from "../diffusion/frame-pack/transformer.ts";
import { type StagePositions, stageCoordinates } from "../diffusion/stage-positions.ts";
import { paddedSize } from "../diffusion/temporal-padding.ts";
import type { LossGraph } from "../learner.ts";
import {
  floats,
  ofsFeeds,
  PARTS,
  rateFeeds,
  requireConditions,
  textFeeds,
  textInput,
} from "./text-to-video.ts";

/** The loss of rows of one layout. */
export type PackedGraph = {
  /** Latents of every sample. */
  readonly sizes: readonly LatentSize[];
  readonly layout: RowLayout;
  readonly config: TransformerConfig;
  /** What is fed for positions: rotary rows, or rows to be added. */
  readonly positions: Readonly<Record<string, HostTensor>>;
  readonly graph: LossGraph;
};

/**
 * Builds the loss of a row. It takes what `packedRowFeeds` gives, and reports `perSample [n]`.
 * @param task what the model is for, such as "inpainting"; begins the graph's name
 * @throws ConfigError for clips of a size that the model has no positions for
 */
export function packedTextToVideo(
  config: TransformerConfig,
  sizes: readonly LatentSize[],
  textEncoder: T5Config | null,
  placement: StagePositions,
  task = "text-to-video",
): PackedGraph {
  const padded = sizes.map((size) => paddedSize(size, config.patchT));
  const layout = rowLayout(config, padded, config.maxTextLength);
  const positions = positionsOf(config, layout, placement);
  const p = new Scope();
  const x = {
    ...mixtureInputs(config, sizes, padded),
    timestep: input("timestep", [sizes.length, config.width]),
    text: textInput(p, { batch: sizes.length, textLength: layout.textLength }, config, textEncoder),
    ...conditionInputs(config, padded),
    ...positionInputs(positions, sizes.length),
  };
  const { loss, perSample } = packedLoss(p.at(PARTS.transformer), x, config, layout);
  const names = sizes.map(({ frames, height, width }) => `${frames} x ${height} x ${width}`);
  const name = `${task}, packed [${names.join("] [")}]`;
  // Many layouts take turns: what each of them frees is for the others.
  const graph = { name, loss, report: { perSample }, params: p.declared, arena: false };
  return { sizes, layout, config, positions, graph };
}

function mixtureInputs(
  config: TransformerConfig,
  sizes: readonly LatentSize[],
  padded: readonly LatentSize[],
): PackedMixture {
  const each = (name: string, list: readonly LatentSize[]) =>
    list.map((size, i) => input(`${name}/${i}`, latentShape(config, size)));
  const rates = (name: string) => input(name, [sizes.length]);
  return {
    latents: each("latents", sizes),
    noise: each("noise", padded),
    signal: rates("signal"),
    sigma: rates("sigma"),
    weights: rates("weights"),
  };
}

function conditionInputs(
  config: TransformerConfig,
  padded: readonly LatentSize[],
): Pick<PackedConditions, "condition" | "ofs"> {
  const { ofs, ...conditions } = Object.fromEntries(
    Object.entries(packedConditionSpecs(config, padded)).map(([name, shape]) => [name, input(name, shape)]),
  );
  const condition = Object.values(conditions);
  return { ...(condition.length === 0 ? {} : { condition }), ...(ofs === undefined ? {} : { ofs }) };
}

/** Shapes of what models take beside the text, for samples of these padded sizes: `condition/i`, and `ofs`. */
export function packedConditionSpecs(
  config: TransformerConfig,
  padded: readonly LatentSize[],
): Record<string, Shape> {
  const channels = conditionChannels(config);
  const conditions = padded.map((size, i): [string, Shape] => [
    `condition/${i}`,
    latentShape(config, size).with(2, channels),
  ]);
  return {
    ...(channels === 0 ? {} : Object.fromEntries(conditions)),
    ...(config.ofsDim === null ? {} : { ofs: [padded.length, config.ofsDim] }),
  };
}

function positionsOf(
  config: TransformerConfig,
  layout: RowLayout,
  placement: StagePositions,
): Record<string, HostTensor> {
  const rows = (data: Float32Array, width: number) => floats([1, data.length / width, width], data);
  const added = layout.segments.map(({ size }) => addedRows(config, size, layout.textLength));
  const positions = Object.fromEntries(
    added.flatMap((each, i) => (each === null ? [] : [[`positions/${i}`, rows(each, config.width)]])),
  );
  if (!config.rotary) return positions;
  const { cos, sin } = packedRotary(layout, config.headDim, (grid) =>
    stageCoordinates(config, grid, placement),
  );
  const half = config.headDim / 2;
  return { ...positions, cos: rows(cos, half), sin: rows(sin, half) };
}

/** Null where positions are rotations alone, or the model has a table for clips of this size. */
function addedRows(config: TransformerConfig, size: LatentSize, textLength: number): Float32Array | null {
  if (config.rotary && !config.learnedPositions) return null;
  const { added }: Positions = positionsFor(config, size, textLength);
  return added.kind === "rows" ? added.rows : null;
}

function positionInputs(
  positions: Readonly<Record<string, HostTensor>>,
  samples: number,
): Partial<PackedConditions> {
  const inputs = new Map<string, Tensor>(
    Object.entries(positions).map(([name, { shape }]) => [name, input(name, shape)]),
  );
  const [cos, sin] = [inputs.get("cos"), inputs.get("sin")];
  const added = Array.from({ length: samples }, (_, i) => inputs.get(`positions/${i}`));
  return {
    ...(cos && sin ? { rotation: { cos, sin } } : {}),
    ...(added.some((rows) => rows !== undefined) ? { positions: added } : {}),
  };
}

/** One sample of a row on the host. */
export type PackedSample = {
  /** Scaled latents `[F, C, H, W]`. */
  readonly latents: Float32Array;
  /** `[F, C, H, W]`, of the frames that the latents have once their first one is repeated for temporal patches. */
  readonly noise: Float32Array;
  /** Token ids `[T]`, or text states `[T, D]`. */
  readonly text: Int32Array | Float32Array;
  /** Conditioning latents `[F, C', H, W]` of as many frames as the noise, for models that see more than the text. */
  readonly condition?: Float32Array;
  /** 0 to 999 */
  readonly timestep: number;
  /** What it counts in the loss of its row. */
  readonly weight: number;
};

/** What the graph is fed for a row, but for the weights of the model. */
export function packedRowFeeds(
  { config, sizes, layout, positions }: PackedGraph,
  schedule: NoiseSchedule,
  samples: readonly PackedSample[],
): Record<string, HostTensor> {
  const each = (name: "latents" | "noise", list: readonly LatentSize[]) =>
    samples.map((sample, i) => [`${name}/${i}`, floats(latentShape(config, list[i]), sample[name])]);
  const weights = Float32Array.from(samples, ({ weight }) => weight);
  return {
    ...Object.fromEntries([
      ...each("latents", sizes),
      ...each(
        "noise",
        layout.segments.map(({ size }) => size),
      ),
    ]),
    ...rateFeeds(
      samples.map(({ timestep }) => timestep),
      schedule,
      config,
    ),
    ...textFeeds(
      samples.map(({ text }) => text),
      config,
      layout.textLength,
    ),
    weights: floats([samples.length], weights),
    ...conditionFeeds(config, layout, samples),
    ...positions,
  };
}

function conditionFeeds(
  config: TransformerConfig,
  { segments }: RowLayout,
  samples: readonly PackedSample[],
): Record<string, HostTensor> {
  for (const { condition } of samples) requireConditions(config, condition !== undefined);
  const specs = packedConditionSpecs(
    config,
    segments.map(({ size }) => size),
  );
  const fed = samples.flatMap(({ condition }, i) =>
    condition === undefined ? [] : [[`condition/${i}`, floats(specs[`condition/${i}`], condition)]],
  );
  return { ...Object.fromEntries(fed), ...ofsFeeds(config, samples.length) };
}

/** `[1, F, C, H, W]` */
function latentShape({ outChannels }: TransformerConfig, { frames, height, width }: LatentSize): number[] {
  return [1, frames, outChannels, height, width];
}

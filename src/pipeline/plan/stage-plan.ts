/** @file What every stage of a run takes: anonymous memory, mapped files and work, from the models' graphs alone. */
import type { Segment } from "../../graph/segment.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { t5Segments } from "../../models/t5/encoder.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import type { LatentSize } from "../../models/transformer/grid.ts";
import { addedKind } from "../../models/transformer/positions/positions.ts";
import { quantizeTransformer } from "../../models/transformer/quantized.ts";
import { transformerSegments } from "../../models/transformer/transformer.ts";
import { arenaOf, segmentMemory } from "../../runtime/segment-memory.ts";
import { segmentWork, sumOfWork, timesWork, type Work } from "../../runtime/segment-work.ts";
import type { Stage } from "../events.ts";
import type { Precision } from "../precision.ts";
import { isNarrowIn, type PlannedModel, plannedFormats } from "./models.ts";

/** A stage as it is planned; bytes and work are of the whole run. */
export type StagePlan = {
  readonly stage: Stage;
  /** The highest anonymous memory beyond what the process takes at rest. */
  readonly memory: number;
  /** Weights as they are stored. They are mapped: the kernel may drop these pages at any time. */
  readonly mapped: number;
  readonly work: Work;
};

/** Bytes that a compiled segment keeps beside its weights. */
const SESSION = 1 << 20;

/** Tensors that are let go stay until so many bytes of them have come together, see runtime/worker.ts. */
const UNCOLLECTED = 64 << 20;

/**
 * What a heap that freed blocks stay in takes for each byte that is alive: blocks of many sizes come and go, and holes are
 * seldom of the size that is asked for next. Measured, see docs/planning.md.
 */
const HEAP_WASTE = 2;

/** What a segment takes beyond its inputs, in a heap shared with others that are like it. Results are copied once. */
function inHeap(segment: Segment, isNarrow: (key: string) => boolean): number {
  const { live, outputs } = segmentMemory(segment, isNarrow);
  return HEAP_WASTE * live + outputs;
}

/** What a segment takes beyond its inputs, in an arena of its own that is let go after the run. */
export function inArena(segment: Segment, isNarrow: (key: string) => boolean): number {
  return arenaOf(segment, isNarrow) + segmentMemory(segment, isNarrow).outputs;
}

function inputBytes({ inputs }: Segment): number {
  return Object.values(inputs).reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
}

/** Dropped tensors that nobody has collected yet, of so many that are made. */
export function uncollected(made: number): number {
  return Math.min(made, UNCOLLECTED);
}

/** The text encoder, once over all texts: layer after layer, each in an arena of its own. */
export function textPlan(textEncoder: PlannedModel<T5Config>, texts: number, length: number): StagePlan {
  const { config, weights } = textEncoder;
  // All layers are alike.
  const { embed, layers, norm } = t5Segments({ ...config, layers: 1 }, texts, length);
  const isNarrow = isNarrowIn(textEncoder);
  const [layer] = layers;
  const peaks = [embed, layer, norm].map((segment) => inputBytes(segment) + inArena(segment, isNarrow));
  return {
    stage: "text",
    memory: Math.max(...peaks) + uncollected(config.layers * inputBytes(norm)),
    mapped: weights?.totalBytes ?? storedBytes([embed, norm]) + config.layers * storedBytes([layer]),
    work: sumOfWork([
      ...[embed, norm].map((segment) => segmentWork(segment, isNarrow)),
      timesWork(segmentWork(layer, isNarrow), config.layers),
    ]),
  };
}

/** The size of one evaluation. */
export type DenoiseRequest = {
  /** Latents that the model sees at a time. */
  readonly latents: LatentSize;
  /** Samples in the batch. */
  readonly rows: number;
  readonly precision: Precision;
};

/** One evaluation of the transformer. */
export function evaluationPlan(
  transformer: PlannedModel<TransformerConfig>,
  { latents, rows, precision }: DenoiseRequest,
): StagePlan {
  const { config } = transformer;
  const textLength = config.maxTextLength;
  const added = addedKind(config, latents);
  // All blocks are alike.
  const plain = transformerSegments({ ...config, layers: 1 }, { batch: rows, ...latents, textLength, added });
  const { embed, blocks, head } = quantizeTransformer(plain, plannedFormats(transformer, precision));
  const isNarrow = isNarrowIn(transformer);
  const [block] = blocks;
  const peaks = [embed, block, head].map((segment) => inputBytes(segment) + inHeap(segment, isNarrow));
  const streams = Object.values(block.outputs).reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
  return {
    stage: "denoise",
    memory:
      Math.max(...peaks) +
      uncollected(config.layers * streams) +
      config.layers * (SESSION + reorderedBytes(block)),
    mapped: storedBytes([embed, head]) + config.layers * storedBytes([block]),
    work: sumOfWork([
      ...[embed, head].map((segment) => segmentWork(segment, isNarrow)),
      timesWork(segmentWork(block, isNarrow), config.layers),
    ]),
  };
}

/** The engine keeps quantised matrices a second time, in an order of its own. */
function reorderedBytes({ params }: Segment): number {
  return [...params.values()]
    .filter(({ dtype }) => dtype === "i8" || dtype === "u8")
    .reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

/** Weights as the released checkpoints store them, or as they are rounded. */
export function storedBytes(segments: readonly Segment[]): number {
  return segments
    .flatMap(({ params }) => [...params.values()])
    .reduce((sum, { shape, dtype }) => sum + (dtype === "f32" || dtype === "f16" ? 2 : 1) * sizeOf(shape), 0);
}

/** @file The names and shapes of a model's parameters, as the model functions themselves declare them. */
import type { Segment } from "../../graph/segment.ts";
import type { Shape } from "../../graph/shape.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { t5Segments } from "../../models/t5/encoder.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { positionsFor, trainedFrames } from "../../models/transformer/positions/positions.ts";
import { transformerSegments } from "../../models/transformer/transformer.ts";
import { spatialRatio, type VaeConfig } from "../../models/vae/config.ts";
import { decoderSegments } from "../../models/vae/decoder.ts";
import { encoderSegments } from "../../models/vae/encoder.ts";
import { declaredShapes } from "../../runtime/mapped-weights.ts";

/** Shapes by checkpoint key. */
export type DeclaredShapes = ReadonlyMap<string, Shape>;

/** Parameters of a T5 encoder. */
export function textEncoderParams(config: T5Config): DeclaredShapes {
  const { embed, layers, norm } = t5Segments(config, 1, 1);
  return declaredShapes([embed, ...layers, norm]);
}

/**
 * Parameters of a transformer.
 * @throws ConfigError when the model cannot place the tokens of the clips it is made for
 */
export function transformerParams(config: TransformerConfig): DeclaredShapes {
  const size = { frames: paddedFrames(config), height: config.sampleHeight, width: config.sampleWidth };
  const textLength = config.maxTextLength;
  const added = positionsFor(config, size, textLength).added.kind;
  const { embed, blocks, head } = transformerSegments(config, { ...size, batch: 1, textLength, added });
  return declaredShapes([embed, ...blocks, head]);
}

/** Parameters of a VAE, encoder first. */
export function vaeParams(config: VaeConfig): DeclaredShapes {
  const side = spatialRatio(config);
  const chunk = { frames: 1, continues: false, keeps: false, block: 1 };
  const segments: Segment[] = [
    ...encoderSegments(config, { ...chunk, height: side, width: side }),
    ...decoderSegments(config, { ...chunk, height: 1, width: 1 }),
  ];
  return declaredShapes(segments);
}

/** Latent frames of a clip, filled up to whole temporal patches. */
function paddedFrames(config: TransformerConfig): number {
  const step = config.patchT ?? 1;
  return Math.ceil(trainedFrames(config) / step) * step;
}

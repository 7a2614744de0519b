/** @file Spatio-temporal guidance: away from what the model says with some of its blocks left out. */
import { ConfigError } from "../errors.ts";
import { rescaled } from "./guided-prediction.ts";

const f32 = Math.fround;

/** Spatio-temporal guidance of a run (Hyung et al. 2024). */
export type SpatioTemporalGuidance = {
  /** Weight of the difference between the whole model and the one with blocks left out; 1 is usual, 0 is none. */
  readonly scale: number;
  /** Blocks to leave out, from 0; block 11 unless given. */
  readonly layers?: readonly number[];
  /** Pulls the spread of the guided prediction 70 % of the way back to that of the conditional one. */
  readonly rescale?: boolean;
};

/** The reference's choice of blocks. */
const STG_LAYERS = [11] as const;

/** Share of the rescaled prediction in the result, as in the reference. */
const RESCALING = 0.7;

/**
 * The guidance with its defaults, or null where it does nothing.
 * @throws ConfigError for a scale that is no number, or blocks the model does not have
 */
export function checkedStg(
  stg: SpatioTemporalGuidance | undefined,
  { layers: count, guided }: { readonly layers: number; readonly guided: boolean },
): Required<SpatioTemporalGuidance> | null {
  if (stg === undefined || stg.scale === 0) return null;
  const { scale, layers = STG_LAYERS, rescale = false } = stg;
  if (!Number.isFinite(scale)) throw new ConfigError(`the STG scale must be a number, got ${scale}`);
  if (!guided) throw new ConfigError("STG comes on top of guidance; give a guidance scale above 1");
  const wrong = layers.find((layer) => !Number.isInteger(layer) || layer < 0 || layer >= count);
  if (wrong !== undefined || layers.length === 0)
    throw new ConfigError(
      `STG leaves out blocks 0 to ${count - 1} of this model, got ${wrong ?? "none"}; name others with layers (--stg-layers)`,
    );
  return { scale, layers, rescale };
}

/** `guided + scale (conditional - perturbed)` in float32, with its spread pulled back where asked for; a new array. */
export function addStg(
  guided: Float32Array,
  conditional: Float32Array,
  perturbed: Float32Array,
  { scale, rescale }: Required<SpatioTemporalGuidance>,
): Float32Array {
  const weight = f32(scale);
  const sum = guided.map((v, i) => v + f32(weight * f32(conditional[i] - perturbed[i])));
  if (!rescale) return sum;
  return rescaled(sum, conditional, RESCALING);
}

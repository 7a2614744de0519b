/** @file Pyramid attention broadcast: attention says nearly the same in neighbouring steps (Zhao et al. 2024). */
import { isBetween, wholeFrom } from "./option-checks.ts";
import type { CachePolicy } from "./policy.ts";

/** Repeats what the attention of every block said, in the middle of the run. */
export type PyramidBroadcastOptions = {
  readonly kind: "pab";
  /** Attention is computed in every this many steps; 2 unless given. */
  readonly every?: number;
  /** Timesteps between which it is repeated, both exclusive; 100 and 800 unless given. */
  readonly from?: number;
  readonly to?: number;
};

/** PAB as a policy; CogVideoX has spatio-temporal attention only, so the pyramid has one level. */
export function pyramidBroadcast({
  every = 2,
  from = 100,
  to = 800,
}: PyramidBroadcastOptions): CachePolicy<null> {
  wholeFrom(1, "every of pab", every);
  return {
    kept: { part: "attention", count: 1 },
    start: null,
    decide: (memory, { step, timestep, available }) => ({
      memory,
      reuse: available > 0 && step % every !== 0 && isBetween(timestep, [from, to]) ? [1] : null,
    }),
  };
}

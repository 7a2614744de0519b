/** @file The contest of VAE and discriminator: both losses, the weight that balances them, and whose turn it is. */
// T frames, H and W height and width
import { gradients } from "../../autodiff/grad.ts";
import { ShapeError } from "../../errors.ts";
import { abs, exp, log, maximum, minimum, relu, sqrt } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { Scope } from "../../nn/scope.ts";
import { LAST_KERNEL } from "./codec.ts";
import { detach } from "./detach.ts";
import { type DiscriminatorConfig, defaultDiscriminator, discriminator } from "./discriminator.ts";

/** How the discriminator is punished: by margins, or by the logarithm of its probabilities. */
export type AdversarialKind = "hinge" | "vanilla";

/** Punishment of every logit, falling with it. */
const punish: Readonly<Record<AdversarialKind, (logits: Tensor) => Tensor>> = {
  hinge: (logits) => relu(logits.neg().add(1)),
  vanilla: (logits) => softplus(logits.neg()),
};

/** ½ (mean f(D(x)) + mean f(-D(x̂))), f(d) = max(0, 1 - d) for `hinge` and log(1 + e⁻ᵈ) for `vanilla`. */
export function contestLoss(recorded: Tensor, made: Tensor, kind: AdversarialKind = "hinge"): Tensor {
  const parts = [punish[kind](recorded), punish[kind](made.neg())];
  return parts
    .map(meanOf)
    .reduce((sum, part) => sum.add(part))
    .mul(0.5);
}

export type DiscriminatorLoss = {
  readonly loss: Tensor;
  /** Mean logits of the recorded and the reconstructed clip; apart while the discriminator wins. */
  readonly parts: { readonly recorded: Tensor; readonly made: Tensor };
};

/**
 * The discriminator's loss on a clip and its reconstruction `[T, 3, H, W]`. The reconstruction may be an input or the
 * result of the VAE in the same graph: no gradient of this loss reaches beyond it.
 */
export function discriminatorLoss(
  p: Scope,
  { clip, reconstruction }: { readonly clip: Tensor; readonly reconstruction: Tensor },
  config: DiscriminatorConfig = defaultDiscriminator,
  kind: AdversarialKind = "hinge",
): DiscriminatorLoss {
  const recorded = discriminator(p, clip, config);
  const made = discriminator(p, detach(reconstruction), config);
  return {
    loss: contestLoss(recorded, made, kind),
    parts: { recorded: meanOf(recorded), made: meanOf(made) },
  };
}

/**
 * The VAE's side, as a term of `vaeLoss`: gate · weight · λ · -mean(D(x̂)). λ, which no gradient passes through, makes
 * its gradient at the decoder's last kernel as long as that of the supervised terms. The gradient at the pixels is
 * computed once and serves both λ and the term; the discriminator's parameters get none.
 * @param gate an input `[]` that holds `gateAt(step, start)`, so that one graph serves both sides of the start
 * @param weight what the balanced term counts; our choice, between 0.05 and 0.1 in similar work
 */
export function adversarialTerm(
  gate: Tensor,
  config: DiscriminatorConfig = defaultDiscriminator,
  weight = 0.1,
) {
  return (reconstruction: Tensor, supervised: Tensor, p: Scope): Tensor => {
    const kernel = p.declared.get(p.at(LAST_KERNEL).path);
    if (kernel === undefined)
      throw new ShapeError(
        `the adversarial term balances at ${LAST_KERNEL}, which nothing declared; decode the clip before it`,
      );
    const against = meanOf(discriminator(p, reconstruction, config)).neg();
    const [atPixels] = gradients(against, [reconstruction]);
    const [ofSupervised] = gradients(supervised, [kernel]);
    const [ofContest] = gradients(reconstruction, [kernel], atPixels);
    const balance = adaptiveWeight(ofSupervised, ofContest).mul(gate).mul(weight);
    return withGradient(against, reconstruction, atPixels).mul(balance);
  };
}

/** λ = clamp(|a| / (|b| + 1e-4), 0, 1e4) for two gradients of one parameter (Esser et al. 2021), without gradient. */
export function adaptiveWeight(ofSupervised: Tensor, ofContest: Tensor): Tensor {
  const ratio = lengthOf(ofSupervised).div(lengthOf(ofContest).add(1e-4));
  return detach(minimum(maximum(ratio, 0), 1e4));
}

/** A scalar of the value of `y` that passes `gradient` on to `x`, and nothing to whatever else `y` is made of. */
function withGradient(y: Tensor, x: Tensor, gradient: Tensor): Tensor {
  const linear = x.mul(detach(gradient)).sum(everyAxis(x));
  return detach(y).add(linear.sub(detach(linear)));
}

/** 0 before the start step, 1 from it on. */
export function gateAt(step: number, start: number): 0 | 1 {
  return step < start ? 0 : 1;
}

/** Who is trained in a step: the VAE alone before the start, and then the two by turns, the discriminator first. */
export function turnAt(step: number, start: number): "vae" | "discriminator" {
  return step < start || (step - start) % 2 === 1 ? "vae" : "discriminator";
}

/** log(1 + eˣ) without overflow. */
function softplus(x: Tensor): Tensor {
  return relu(x).add(log(exp(abs(x).neg()).add(1)));
}

function lengthOf(x: Tensor): Tensor {
  return sqrt(x.mul(x).sum(everyAxis(x)));
}

function meanOf(x: Tensor): Tensor {
  return x.mean(everyAxis(x));
}

function everyAxis({ shape }: Tensor): number[] {
  return shape.map((_, axis) => axis);
}

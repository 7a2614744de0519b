/** @file The state of a learner as a source for a checkpoint, of which one role is in memory at a time. */
import type { Learner, TrainingTensors } from "../learner.ts";
import { type Role, rolesOf } from "../optimiser/update.ts";
import type { TensorSource } from "./checkpoints.ts";

/**
 * Everything that `Learner.tensors` gives, in its roles one after the other: weights, then the moments, then the
 * average. The learner must take no step until the source has been read.
 * @param average whether the learner keeps one
 */
export function tensorsOf(learner: Pick<Learner, "weights" | "tensors">, average: boolean): TensorSource {
  const roles = rolesOf({ average });
  const keys = [...learner.weights()];
  const shapes = new Map(
    roles.flatMap((role) => keys.map(([key, { shape }]) => [`${role}/${key}`, shape] as const)),
  );
  let held: { readonly role: Role; readonly tensors: TrainingTensors } | undefined;
  const read = async (name: string) => {
    const role = roleOf(name, roles);
    if (held?.role !== role) {
      held = undefined;
      held = { role, tensors: await learner.tensors([role]) };
    }
    return held.tensors.get(name)!.data;
  };
  return { shapes, read };
}

function roleOf(name: string, roles: readonly Role[]): Role {
  return roles.find((role) => name.startsWith(`${role}/`))!;
}

/** @file The discriminator on images and clips. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { runModel } from "../../../test/helpers/central-differences.ts";
import { hashInput } from "../../../test/helpers/hash-fill.ts";
import { gradients } from "../../autodiff/grad.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { input } from "../../graph/tensor.ts";
import { Scope } from "../../nn/scope.ts";
import { Engine } from "../../runtime/engine.ts";
import { contestLoss } from "./adversarial.ts";
import { discriminator, discriminatorParams, initialDiscriminator } from "./discriminator.ts";

const small = { channels: [4, 6, 8], temporalLevels: 2 };

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test.each([
  { clip: [1, 3, 16, 24], logits: [1, 1, 4, 6] },
  { clip: [9, 3, 16, 16], logits: [3, 1, 4, 4] },
  { clip: [17, 3, 32, 16], logits: [5, 1, 8, 4] },
])("makes a logit per patch: $clip to $logits", ({ clip, logits }) => {
  const p = new Scope();
  expect(discriminator(p, input("clip", clip), small).shape).toEqual(logits);
  expect(new Map([...p.declared].map(([key, { shape }]) => [key, shape]))).toEqual(
    discriminatorParams(small),
  );
});

test("judges a clip's first frame as it judges an image, whatever follows", async () => {
  const clip = [9, 3, 16, 16];
  const p = new Scope();
  const x = input("x", clip);
  const outputs = {
    clip: discriminator(p, x, small).slice(0, 0, 1),
    image: discriminator(p, x.slice(0, 0, 1), small),
  };
  expect(outputs.image.shape).toEqual(outputs.clip.shape);
  const found = await runModel(engine, toOnnx(outputs), { ...weights(), x: host(clip, 1) });
  expect(found.image).toBeCloseToArray(found.clip, { atol: 1e-5, rtol: 1e-4 });
});

test("learns to tell a clip from another one", async () => {
  const shape = [5, 3, 8, 8];
  const p = new Scope();
  const build = (name: string) => discriminator(p, input(name, shape), small);
  const loss = contestLoss(build("recorded"), build("made"));
  const keys = [...p.declared.keys()];
  const slopes = gradients(loss, [...p.declared.values()]);
  const model = toOnnx({ loss, ...Object.fromEntries(keys.map((key, i) => [key, slopes[i]])) });
  const clips = { recorded: host(shape, 1), made: host(shape, 2) };
  const params = weights();
  const losses: number[] = [];
  for (let step = 0; step < 6; step++) {
    const found = await runModel(engine, model, { ...params, ...clips });
    losses.push(found.loss[0]);
    for (const key of keys)
      (params[key].data as Float32Array).forEach((_, i, data) => {
        data[i] -= 0.01 * found[key][i];
      });
  }
  expect(losses.at(-1)).toBeLessThan(0.8 * losses[0]);
});

function weights() {
  const values = initialDiscriminator(small, 3);
  return Object.fromEntries([...values].map(([key, value]) => [key, { dtype: "f32", ...value } as const]));
}

function host(shape: readonly number[], key: number) {
  return { dtype: "f32", shape, data: hashInput(shape, key, 2) } as const;
}

/** @file Adds LoRAs to the weights they correct, or takes them away again. */
import type { EditRows } from "../convert/write-plan.ts";
import { readFloats } from "../read.ts";
import type { LoraAdapter, LoraLayer } from "./adapter.ts";

/** A LoRA and how strongly it counts; a negative scale takes away what the positive one added. */
export type ScaledAdapter = { readonly adapter: LoraAdapter; readonly scale: number };

/**
 * The change that fusing makes to a weight matrix W, `[out, in]` or `[out, in, kh, kw]`:
 * W + Σ scale · layer.scale · B A, in float32, row by row. Undefined for a tensor that no LoRA corrects.
 * @param name of the weight, such as `transformer_blocks.0.attn1.to_q.weight`
 */
export async function fuseInto(name: string, loras: readonly ScaledAdapter[]): Promise<EditRows | undefined> {
  if (!name.endsWith(".weight")) return undefined;
  const target = name.slice(0, -".weight".length);
  const edits: EditRows[] = [];
  for (const { adapter, scale } of loras) {
    const layer = adapter.layers.get(target);
    if (layer) edits.push(await addProduct(layer, scale * layer.scale));
  }
  if (edits.length === 0) return undefined;
  return (values, firstRow) => {
    for (const edit of edits) edit(values, firstRow);
  };
}

/** W + factor · B A for the rows at hand. */
async function addProduct({ a, b, rank }: LoraLayer, factor: number): Promise<EditRows> {
  const [down, up] = await Promise.all([readFloats(a), readFloats(b)]);
  const width = down.length / rank;
  return (values, firstRow) => {
    for (let row = 0; row < values.length / width; row++) {
      const into = values.subarray(row * width, (row + 1) * width);
      for (let k = 0; k < rank; k++) {
        const weight = factor * up[(firstRow + row) * rank + k];
        const from = k * width;
        if (weight !== 0) for (let i = 0; i < width; i++) into[i] += weight * down[from + i];
      }
    }
  };
}

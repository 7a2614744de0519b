/** @file The names that LoRA tensors go by, and the layer and role that each name means. */
import { fillPattern, matchPattern } from "../convert/pattern.ts";

/** A is the matrix next to the input, B the one next to the output. */
export type LoraRole = "a" | "b" | "alpha";

/** What a name means: a role in the LoRA of `target`, such as `transformer_blocks.0.attn1.to_q`. */
export type LoraName = { readonly target: string; readonly role: LoraRole };

/** Endings of names, what stands in their place in the layer's name, and the role. PEFT's come first. */
const endings: readonly { readonly end: RegExp; readonly stem: string; readonly role: LoraRole }[] = [
  { end: /\.lora_A(\.\w+)?\.weight$/, stem: "", role: "a" },
  { end: /\.lora_B(\.\w+)?\.weight$/, stem: "", role: "b" },
  { end: /\.(to_[qkv])_lora\.down\.weight$/, stem: ".$1", role: "a" },
  { end: /\.(to_[qkv])_lora\.up\.weight$/, stem: ".$1", role: "b" },
  { end: /\.to_out_lora\.down\.weight$/, stem: ".to_out.0", role: "a" },
  { end: /\.to_out_lora\.up\.weight$/, stem: ".to_out.0", role: "b" },
  { end: /\.lora(_linear_layer)?\.down\.weight$/, stem: "", role: "a" },
  { end: /\.lora(_linear_layer)?\.up\.weight$/, stem: "", role: "b" },
  { end: /\.lora_down\.weight$/, stem: "", role: "a" },
  { end: /\.lora_up\.weight$/, stem: "", role: "b" },
  { end: /\.alpha$/, stem: "", role: "alpha" },
];

/** Kinds of adapters that are more than B A x, by what their names hold. */
const others: readonly { readonly name: RegExp; readonly kind: string }[] = [
  { name: /\.lora_magnitude_vector(\.|$)|\.dora_scale$/, kind: "a DoRA, which also scales the weights" },
  { name: /\.lora_[AB](\.\w+)?\.bias$/, kind: "a LoRA with biases" },
  { name: /\.(hada_w[12]|lokr_w[12]|oft_)/, kind: "a LyCORIS adapter" },
];

const prefixes = ["base_model.model.", "transformer.", "diffusion_model."];

/** Layers that a LoRA can lie on. Some programs write their names with underscores for dots. */
const layers = [
  ...["attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2"],
  ...["norm1.linear", "norm2.linear"],
].map((name) => `transformer_blocks.{}.${name}`);
const ends = ["patch_embed.proj", "patch_embed.text_proj", "norm_out.linear", "proj_out"];
const embeddings = ["time_embedding", "ofs_embedding"].flatMap((name) => [
  `${name}.linear_1`,
  `${name}.linear_2`,
]);
const targets = [...layers, ...ends, ...embeddings];

/** What the name of a tensor in a LoRA file means; undefined for one that means nothing. */
export function parseLoraName(name: string): LoraName | undefined {
  for (const { end, stem, role } of endings)
    if (end.test(name)) return { target: targetOf(name.replace(end, stem)), role };
  return undefined;
}

/** Names the kind of adapter that a tensor belongs to, where it is one that cannot be read. */
export function unreadableKind(name: string): string | undefined {
  return others.find((kind) => kind.name.test(name))?.kind;
}

function targetOf(stem: string): string {
  const flat = /^lora_(?:unet|transformer)_+(.+)$/.exec(stem)?.[1];
  if (flat !== undefined) return unflatten(flat) ?? flat;
  const prefix = prefixes.find((candidate) => stem.startsWith(candidate));
  return prefix === undefined ? stem : targetOf(stem.slice(prefix.length));
}

function unflatten(flat: string): string | undefined {
  for (const target of targets) {
    const indices = matchPattern(target.replaceAll(".", "_"), flat);
    if (indices) return fillPattern(target, indices);
  }
  return undefined;
}

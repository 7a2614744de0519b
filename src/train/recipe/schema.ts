/** @file What a training recipe can say: every field with its default. One recipe is one run. */
import { z } from "zod";
import { windowPolicies } from "../../data/clips/sampling.ts";
import { motions, sizeNames, toneNames } from "../../data/shapes/vocabulary.ts";
import { conditionScales } from "../diffusion/image-conditioning.ts";
import { maskKinds } from "../diffusion/mask-bank.ts";
import { defaultAdamW } from "../optimiser/adamw.ts";
import { defaultVaeWeights } from "../vae/loss.ts";
import { type ClipSize, pixelSizeOf } from "./clip-size.ts";

const count = z.int().min(1);
const whole = z.int().min(0);
const share = z.number().min(0).max(1);
const path = z.string().min(1);

/** A square's side, or width by height. */
const pixels = z
  .custom<number | string>(
    (value) => pixelSizeOf(value) !== null,
    "a whole number, or width by height such as 720x480",
  )
  .transform((value) => pixelSizeOf(value)!);

/** Optimiser, learning rate and average of a stage. */
const optimiserFields = {
  /** Learning rate at the end of the warm-up. */
  rate: z.number().positive().default(1e-3),
  /** Steps in which the rate rises from 0. */
  warmUp: whole.default(30),
  decay: z.enum(["constant", "linear", "cosine"]).default("cosine"),
  /** Share of the rate that is left at the last step. */
  final: share.default(0.05),
  /** What moves the matrices inside the model; everything else takes AdamW. */
  method: z.enum(["adamw", "muon"]).default("adamw"),
  beta1: share.default(defaultAdamW.beta1),
  beta2: share.default(defaultAdamW.beta2),
  eps: z.number().positive().default(defaultAdamW.eps),
  weightDecay: z.number().min(0).default(defaultAdamW.weightDecay),
  /** Largest norm of a step's gradient, null for no limit. */
  clip: z.number().positive().nullable().default(1),
  /** What the moving average of the weights keeps of itself; young averages keep less. */
  averageDecay: share.default(0.999),
  /** `bf16`: losses see weights rounded to bfloat16, while the optimiser keeps them in float32. */
  storage: z.enum(["f32", "bf16"]).default("f32"),
  /** `carry` goes on with weights and moments of the stage before, `fresh` begins anew with its averaged weights. */
  optimiser: z.enum(["carry", "fresh"]).default("fresh"),
} as const;

const enginesSchema = z.strictObject({
  /** Engines that work on different micro-batches at once. */
  count: count.default(1),
  /** Threads of each. */
  threads: count.default(1),
});

const shapesSchema = z.strictObject({
  kind: z.literal("shapes"),
  seed: whole.default(7),
  /** Clips that an epoch has. */
  clips: count.default(20_000),
  /** Pixels: 64 for a square, or width by height such as 720x480. */
  size: pixels.prefault(64),
  frames: count.default(17),
  fps: z.number().positive().default(8),
  /** Probabilities of a second object, a moving camera and a patterned background. */
  twoObjects: share.default(0.2),
  camera: share.default(0.1),
  patterned: share.default(0.5),
  /** Lines that objects are placed on, see `DrawOptions`. */
  grid: count.optional(),
  /** Sizes of objects; scenes with others are left out. */
  sizes: z.array(z.enum(sizeNames)).min(1).optional(),
  /** Tones of the background, likewise. */
  tones: z.array(z.enum(toneNames)).min(1).optional(),
  /** How often motions are drawn beside one another; 1 unless named. */
  motions: z.partialRecord(z.enum(motions), count).optional(),
  captions: z.enum(["short", "long", "mixed"]).default("mixed"),
});

const folderSchema = z.strictObject({
  kind: z.literal("folder"),
  /** A data set in one of the layouts of `readClipFolder`. */
  path,
  size: pixels.prefault(64),
  frames: count.default(17),
  fps: z.number().positive().default(8),
  /** Where in a longer video the clip lies; `random` is drawn once for each video, `uniform` shows all of it faster. */
  window: z.enum(windowPolicies).default("start"),
  /** What becomes of videos that are too short; `freeze` goes on with their last frame, which teaches standing still. */
  short: z.enum(["refuse", "freeze"]).default("refuse"),
});

const tokenizerSchema = z.strictObject({ words: z.array(z.string()), punctuation: z.array(z.string()) });

const newModelSchema = z.strictObject({
  seed: whole.default(1),
  /** `shapes` for the words of the shapes' captions. */
  tokenizer: z.union([z.literal("shapes"), tokenizerSchema]).default("shapes"),
  textEncoder: z
    .strictObject({
      width: count.default(128),
      heads: count.default(4),
      headDim: count.default(32),
      layers: count.default(2),
      hidden: count.default(256),
    })
    .prefault({}),
  transformer: z
    .strictObject({
      heads: count.default(4),
      headDim: count.default(48),
      layers: count.default(6),
      timeDim: count.default(64),
      maxTextLength: count.default(40),
      patch: count.default(2),
      patchT: count.nullable().default(null),
      positions: z.enum(["rotary", "sincos", "learned"]).default("rotary"),
    })
    .prefault({}),
  vae: z
    .strictObject({
      channels: z.array(count).min(2).default([16, 32, 32, 64]),
      layers: count.default(1),
      latentChannels: count.default(16),
      groups: count.default(8),
      temporalRatio: z.literal([1, 2, 4, 8]).default(4),
    })
    .prefault({}),
  scheduler: z
    .strictObject({
      className: z
        .enum(["CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"])
        .default("CogVideoXDDIMScheduler"),
      snrShift: z.number().positive().default(1),
    })
    .prefault({}),
});

const modelSchema = z.strictObject({
  /** A model with weights that have never been trained. */
  new: newModelSchema.optional(),
  /** A checkpoint folder to start from; it stays as it is. */
  from: path.optional(),
  /** A checkpoint folder whose trained VAE a new model takes. */
  vaeFrom: path.optional(),
});

const discriminatorSchema = z.strictObject({
  /** Step of the stage from which on VAE and discriminator take turns. */
  start: whole.default(0),
  weight: z.number().min(0).default(0.1),
  kind: z.enum(["hinge", "vanilla"]).default("hinge"),
  channels: z.array(count).min(1).default([16, 32, 64]),
  temporalLevels: whole.default(2),
  rate: z.number().positive().default(1e-4),
});

const vaeStageSchema = z.strictObject({
  steps: count,
  /** Frames of a clip, 8k + 1; 1 for images. */
  frames: count.optional(),
  size: pixels.optional(),
  /** Frames a second, one of which is drawn for every clip; those of data unless given. */
  frameRates: z.array(z.number().positive()).min(1).optional(),
  /** Pixels a side of a window that is cut out of every clip, where it shows most; null for whole clips. */
  crop: count.nullable().default(null),
  /** Clips of a micro-batch, which go through at once. */
  batch: count.default(1),
  /** Micro-batches of a step. */
  accumulate: count.default(4),
  /** Share of the micro-batches that are images. */
  imageShare: share.default(0),
  /** `decoder` keeps the encoder, and with it the latents, as they are. */
  train: z.enum(["all", "decoder"]).default("all"),
  l1: z.number().min(0).default(defaultVaeWeights.l1),
  l2: z.number().min(0).default(defaultVaeWeights.l2),
  kl: z.number().min(0).default(defaultVaeWeights.kl),
  perceptual: z.number().min(0).default(0),
  /** Weight of errors in colour, see `colourTerm`. */
  colour: z.number().min(0).default(0),
  /** Safetensors files of LPIPS and VGG-16; without them a substitute is used that needs none. */
  lpips: z.array(path).optional(),
  discriminator: discriminatorSchema.optional(),
  ...optimiserFields,
});

const vaeSchema = z.strictObject({
  stages: z.array(vaeStageSchema).default([]),
  /** Clips that the scaling factor is measured over. */
  scaleClips: count.default(64),
  engines: enginesSchema.prefault({}),
});

const clipSizeSchema = z
  .strictObject({ frames: count, size: pixels })
  .transform(({ frames, size }): ClipSize => ({ frames, ...size }));

const packSchema = z.strictObject({
  /** Most tokens of a row, text included. */
  capacity: count,
  /** Clips that are sorted into rows together; by default all of a step. */
  window: count.optional(),
  /** Sizes that clips are cut to; none above the stage's own. */
  sizes: z.array(clipSizeSchema).min(1),
  /** Which of them a clip is cut to: one that is drawn for it in every step, unless it is the nearest to its video's own. */
  choose: z.enum(["drawn", "nearest"]).optional(),
  /** What a clip counts in the loss: as much as any other, or as much as it has tokens. */
  weights: z.enum(["per-sample", "per-token"]).default("per-sample"),
});

const transformerStageSchema = z.strictObject({
  steps: count,
  /** Frames and pixels of the longest and largest clips. */
  frames: count.optional(),
  size: pixels.optional(),
  /** Clips of a micro-batch. */
  batch: count.default(8),
  /** Micro-batches of a step. */
  accumulate: count.default(1),
  /** Share of images: first frames alone. Of the micro-batches, which are of one size; of the clips where they are packed. */
  imageShare: share.default(0),
  /** Rotary positions of clips that are not of the model's size: as inference has them, counted on, or squeezed into the first stage's. */
  positions: z.enum(["checkpoint", "extrapolate", "interpolate"]).default("checkpoint"),
  /** What losses count by tenth of the timesteps, from the clean end to the noisy one. */
  timestepWeights: z.array(z.number().min(0)).length(10).default(Array(10).fill(1)),
  /** Keeps what passes between blocks alone and computes the rest again for gradients: less memory, more time. */
  recompute: z.boolean().default(false),
  /** Packs the batch x accumulate clips of a step into rows of mixed sizes, each of which goes through at once. */
  pack: packSchema.optional(),
  ...optimiserFields,
  optimiser: z.enum(["carry", "fresh"]).default("carry"),
});

const imageSchema = z.strictObject({
  /** Share of the samples that do not see their image. */
  dropout: share.default(0.05),
  /** What an image's latents are multiplied by, see `ConditionScale`; as inference does for the model unless given. */
  scale: z.enum(conditionScales).optional(),
});

const inpaintSchema = z.strictObject({
  /** How often kinds of masks are drawn beside one another, others never; as CogVideoX-Fun trains unless given. */
  masks: z
    .partialRecord(z.enum(maskKinds), z.number().positive())
    .refine((shares) => Object.keys(shares).length > 0, "a mapping that names a kind, such as everything: 1")
    .optional(),
  /** Whether a model that grows its channels here gets a little noise on what is known, in training and afterwards. */
  noise: z.boolean().default(true),
});

const controlSchema = z.discriminatedUnion("kind", [
  /** Edges of the clips themselves. */
  z.strictObject({ kind: z.literal("edges") }),
  /** Videos of the names that the data's own have, in a folder of theirs. */
  z.strictObject({ kind: z.literal("folder"), path }),
]);

const loraSchema = z.strictObject({
  rank: count.default(16),
  /** Corrections are multiplied by alpha / rank. */
  alpha: z.number().positive().default(16),
  /** Ends of the names of the layers that are corrected. */
  layers: z.array(z.string().min(1)).min(1).default(["to_q", "to_k", "to_v", "to_out.0"]),
});

const transformerSchema = z.strictObject({
  stages: z.array(transformerStageSchema).default([]),
  /** Whether the text encoder learns with the transformer. */
  trainTextEncoder: z.boolean().default(true),
  /** Image to video: the first frame is given. A text-to-video model grows the channels that take it. */
  image: imageSchema.optional(),
  /** Inpainting: a mask says what of the clip is known. A text-to-video model grows the channels that take it. */
  inpaint: inpaintSchema.optional(),
  /** Control: another video says what is where. A text-to-video model grows the channels that take it. */
  control: controlSchema.optional(),
  /** Share of the samples that do not see their caption. */
  textDropout: share.default(0.1),
  /** What they see: the empty prompt, which guidance leads away from by default, or zeros as in SAT (`--unconditional zeros`). */
  droppedText: z.enum(["empty", "zeros"]).default("empty"),
  /** How timesteps are drawn: spread evenly over the draws of a step, or each for itself. */
  timesteps: z.enum(["explicit", "independent"]).default("explicit"),
  /** Departures from the model, to be compared with it; the checkpoint that comes out is then not for generation. */
  variant: z.enum(["none", "factorised", "sharedNorm", "plainNorm"]).default("none"),
  /** Trains corrections of low rank in place of the weights; the text encoder then stays as it is. */
  lora: loraSchema.optional(),
  engines: enginesSchema.prefault({}),
});

const sampleSchema = z.strictObject({
  /** Steps between samples, null for none. */
  every: count.nullable().default(null),
  prompts: z.array(z.string()).default(["a red circle moves right", "a blue star spins"]),
  /** Pixels and frames of the clips; the model's own unless given. */
  size: pixels.optional(),
  frames: count.optional(),
  steps: count.default(25),
  guidance: z.number().default(4),
  seed: whole.default(0),
});

const validateSchema = z.strictObject({
  /** Steps between measurements, null for none; the last step of a stage has one too. */
  every: count.nullable().default(null),
  /** Clips that training never shows. */
  clips: count.default(32),
  /** Timesteps that each of them is measured at, evenly spaced. */
  timesteps: count.default(10),
  /** Of the noise; the same one gives the same noise to runs of any recipe. */
  seed: whole.default(0),
  /** Their folder, where the data is one; shapes have held-out compositions. */
  path: path.optional(),
});

export const recipeSchema = z.strictObject({
  seed: whole.default(1),
  /** Where the finished checkpoint goes; by default into the run's folder. */
  output: path.optional(),
  /** Number format of the weights in the finished checkpoint. */
  dtype: z.enum(["f32", "bf16", "f16"]).default("bf16"),
  /** The guidance scale that `generate` takes for the finished checkpoint; as where it began unless given. */
  guidance: z.number().positive().optional(),
  /** Folder of latents and text states, which runs may share; by default in the run's folder. */
  cache: path.optional(),
  model: modelSchema.prefault({ new: {} }),
  data: z.discriminatedUnion("kind", [shapesSchema, folderSchema]).prefault({ kind: "shapes" }),
  vae: vaeSchema.prefault({}),
  latents: z.strictObject({ clips: count.optional() }).prefault({}),
  transformer: transformerSchema.prefault({}),
  /** Steps between saves, and how many of the last saves stay. */
  save: z.strictObject({ every: count.default(200), keep: count.default(2) }).prefault({}),
  sample: sampleSchema.prefault({}),
  /** Losses of the transformer on clips that training never shows, with the averaged weights. */
  validate: validateSchema.prefault({}),
});

/** A recipe with all defaults filled in. */
export type Recipe = z.infer<typeof recipeSchema>;
export type DataRecipe = Recipe["data"];
export type VaeStageRecipe = Recipe["vae"]["stages"][number];
export type TransformerStageRecipe = Recipe["transformer"]["stages"][number];
export type PackRecipe = z.infer<typeof packSchema>;
/** Image to video with everything left to its default. */
export const defaultImage = imageSchema.parse({});
/** Inpainting with everything left to its default. */
export const defaultInpaint = inpaintSchema.parse({});
export type ControlRecipe = z.infer<typeof controlSchema>;
export type LoraRecipe = z.infer<typeof loraSchema>;
export type EnginesRecipe = Recipe["vae"]["engines"];
export type NewModelRecipe = z.infer<typeof newModelSchema>;
/** Fields that stages of both kinds have. */
export type OptimiserRecipe = Pick<VaeStageRecipe, keyof typeof optimiserFields>;

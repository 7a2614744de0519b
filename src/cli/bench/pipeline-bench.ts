/** @file Benchmark of a whole run: T5 XXL, CogVideoX-2B's transformer and the VAE, all with random weights. */
import { SessionError } from "../../errors.ts";
import { createT5Tokenizer, type T5Tokenizer } from "../../models/t5/tokenizer/tokenizer.ts";
import { gridOf, tokensOf } from "../../models/transformer/grid.ts";
import { openCheckpoint } from "../../pipeline/checkpoint.ts";
import { clipSize, latentSize } from "../../pipeline/clip-size.ts";
import { textToVideo } from "../../pipeline/text-to-video.ts";
import { measure } from "./measure.ts";
import type { BenchRequest, BenchResult } from "./model-benches.ts";
import { t5Xxl, transformer2b, vae } from "./official-configs.ts";
import { withRandomCheckpoint } from "./random-checkpoint.ts";

const STEPS = 2;

/** One run from prompt to frames with `STEPS` steps, guidance on, all layers unless `layers` says fewer blocks. */
export async function benchPipeline(request: BenchRequest): Promise<BenchResult> {
  const { layers = transformer2b.num_layers, engine, context } = request;
  const models = { transformer: { ...transformer2b, num_layers: layers }, text_encoder: t5Xxl, vae };
  return withRandomCheckpoint(models, context, async (folder) => {
    const checkpoint = await openCheckpoint(folder);
    const { config } = checkpoint.transformer;
    const size = clipSize(config, { width: 240, height: 160, frames: 9, ...given(request) });
    const pipeline = { checkpoint, tokenizer: letterTokenizer(), engine, close: () => engine.close() };
    const options = { ...size, prompt: "a red circle moves left", steps: STEPS, signal: context.signal };
    let frames = 0;
    const { seconds, ...memory } = await measure(0, async () => {
      for await (const event of textToVideo(pipeline, options)) {
        context.terminal.say(event.kind);
        if (event.kind === "frames") frames += event.frames.shape[0];
      }
    });
    if (frames !== size.frames) throw new SessionError(`the run made ${frames} of ${size.frames} frames`);
    const tokens = config.maxTextLength + tokensOf(gridOf(config, latentSize(config, size)));
    return { what: "pipeline", precision: "fp32", layers, tokens, seconds, gflops: null, ...memory };
  });
}

/** The sizes that were asked for, without the undefined ones. */
function given({ width, height, frames }: BenchRequest): Record<string, number> {
  const entries = Object.entries({ width, height, frames });
  return Object.fromEntries(entries.filter((entry): entry is [string, number] => entry[1] !== undefined));
}

/** A tokenizer that knows the letters; a random model does not care which tokens it reads. */
function letterTokenizer(): T5Tokenizer {
  const normal = ["\u2581", ..."abcdefghijklmnopqrstuvwxyz"];
  return createT5Tokenizer({
    pieces: [
      { text: "<pad>", score: 0, type: "control" },
      { text: "</s>", score: 0, type: "control" },
      { text: "<unk>", score: 0, type: "unknown" },
      ...normal.map((text) => ({ text, score: -1, type: "normal" as const })),
    ],
    unkId: 2,
    byteFallback: false,
    normalizer: {
      charsMap: new Uint8Array(0),
      addDummyPrefix: true,
      removeExtraWhitespaces: true,
      escapeWhitespaces: true,
    },
    source: "the benchmark's tokenizer",
  });
}

/** @file Several clips in one call: all prompts are read at once, then one clip follows the other. */
import type { HostTensor } from "../runtime/protocol.ts";
import type { PipelineEvent } from "./events.ts";
import { encodeTexts, promptsOf, textsOf } from "./generate.ts";
import type { GenerateOptions, PromptStates } from "./generate-options.ts";
import type { Pipeline } from "./pipeline.ts";
import { textToVideo } from "./text-to-video.ts";

/** What to make: a clip for every prompt with every seed, prompts first. */
export type BatchOptions = Omit<GenerateOptions, "prompt" | "seed" | "promptStates"> & {
  readonly prompt: string | readonly string[];
  readonly seed?: number | bigint | readonly (number | bigint)[];
};

/** An event of one of the clips; `clip` counts from 0. */
export type BatchEvent = PipelineEvent & { readonly clip: number; readonly clips: number };

/** A mode of generation, such as `textToVideo`. */
export type MakeClip = (pipeline: Pipeline, options: GenerateOptions) => AsyncGenerator<PipelineEvent>;

/** The options of every clip, in order: all seeds of the first prompt, then those of the next. */
export function clipsOf({ prompt, seed, ...options }: BatchOptions): GenerateOptions[] {
  const prompts = typeof prompt === "string" ? [prompt] : prompt;
  const seeds = typeof seed === "object" ? seed : [seed];
  return prompts.flatMap((one) => seeds.map((each) => ({ ...options, prompt: one, seed: each })));
}

/**
 * Makes several clips. Each is what a call of its own would make; the text encoder, whose weights take longest to read,
 * runs once for all prompts. Events are those of `make`, with the number of their clip.
 * @throws as `make` does
 */
export async function* generateBatch(
  pipeline: Pipeline,
  options: BatchOptions,
  make: MakeClip = textToVideo,
): AsyncGenerator<BatchEvent> {
  const clips = clipsOf(options);
  const texts = await readPrompts(pipeline, clips);
  for (const [clip, request] of clips.entries())
    for await (const event of make(pipeline, { ...request, promptStates: texts?.(request) }))
      yield { ...event, clip, clips: clips.length };
}

/** Hidden states of everything that any of the clips says; null for one clip, which reads its own. */
export async function readPrompts(
  pipeline: Pipeline,
  clips: readonly GenerateOptions[],
): Promise<((clip: GenerateOptions) => PromptStates) | null> {
  if (clips.length < 2 || clips[0].steps === 0) return null;
  const { config } = pipeline.checkpoint.transformer;
  const texts = [...new Set(clips.flatMap((clip) => textsOf(clip, config)))];
  const encoding = encodeTexts(pipeline, clips[0], texts);
  let next = await encoding.next();
  while (!next.done) next = await encoding.next();
  const states = new Map(texts.map((text, i) => [text, (next.value as HostTensor[])[i]]));
  return (clip) => {
    const known = textsOf(clip, config).map((text) => states.get(text)!);
    return { ...promptsOf(clip, known), ofTexts: true };
  };
}

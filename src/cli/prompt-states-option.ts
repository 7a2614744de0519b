/** @file The option --prompt-states: a prompt as the hidden states that a text encoder has made of it. */
import { ConfigError } from "../errors.ts";
import type { PromptStates } from "../pipeline/generate-options.ts";
import { type GuidanceOptions, needsNegative } from "../pipeline/guidance-options.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { showNames } from "../weights/file.ts";
import { readTensors } from "./tensor-files.ts";

/** What the help says of the option. */
export const promptStatesOption = {
  kind: "text",
  value: "FILE",
  about: "instead of a prompt, its hidden states, as forward text-encoder writes",
} as const;

/** Names of the tensors: those of the reference's arguments. */
export const PROMPT = "prompt_embeds";
export const NEGATIVE = "negative_prompt_embeds";

/** Options that are about the words of a prompt, or need them. */
const ofWords = ["prompts", "negative", "enhance", "invert"] as const;

/** @throws ConfigError for hidden states beside a prompt, or where they cannot take its place */
export function requireStatesAlone(
  values: { readonly "prompt-states"?: string; readonly steps?: number } & {
    readonly [K in (typeof ofWords)[number]]?: unknown;
  },
  prompts: readonly string[],
): void {
  const { "prompt-states": file } = values;
  if (file === undefined) return;
  if (prompts.some((prompt) => prompt.trim() !== ""))
    throw new ConfigError(`--prompt-states ${file} takes the place of the prompt; give one of them`);
  const other = ofWords.find((name) => values[name] !== undefined);
  if (other !== undefined)
    throw new ConfigError(
      `--prompt-states ${file} has no words, which --${other} needs; leave one of them out`,
    );
  if (values.steps === 0)
    throw new ConfigError(`--steps 0 only decodes --latents; leave --prompt-states ${file} out`);
}

/**
 * The states in a file; negative ones only where guidance is to lead away from them.
 * @param own what the checkpoint says of guidance
 * @throws ConfigError for a file without them; WeightsError
 */
export async function readPromptStates(
  file: string,
  options: GuidanceOptions,
  own: { readonly guidance?: number },
): Promise<PromptStates> {
  const tensors = await readTensors(file);
  const positive = stateIn(file, tensors, PROMPT);
  return { positive, negative: needsNegative(options, own) ? stateIn(file, tensors, NEGATIVE) : positive };
}

/** Hidden states `[T, textDim]`, which may have a batch axis of one. */
function stateIn(file: string, tensors: ReadonlyMap<string, HostTensor>, name: string): HostTensor {
  const states = tensors.get(name);
  if (states === undefined)
    throw new ConfigError(
      `${file} holds no tensor named ${name}, but ${showNames(tensors.keys())}; ` +
        `forward text-encoder with --prompt and --negative writes ${PROMPT} and, for guidance, ${NEGATIVE}`,
    );
  const shape = states.shape.length === 3 && states.shape[0] === 1 ? states.shape.slice(1) : states.shape;
  if (states.dtype !== "f32" || shape.length !== 2)
    throw new ConfigError(
      `${name} in ${file} must be floats [T, C] or [1, T, C], got ${states.dtype} [${states.shape.join(", ")}]`,
    );
  return { ...states, shape };
}

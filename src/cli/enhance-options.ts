/** @file Options that have the prompts of a job written anew before it begins. */
import { join } from "node:path";
import { type ChatEndpoint, chatEndpoint } from "../enhance/chat-endpoint.ts";
import { type EnhancedPrompt, type EnhanceRequest, enhancePrompt } from "../enhance/enhance.ts";
import { EnhanceFailure } from "../enhance/failure.ts";
import { ConfigError } from "../errors.ts";
import { pictureDataUrl } from "../media/data-url.ts";
import { parseTransformerConfig } from "../models/transformer/config.ts";
import { loadTokenizer } from "../pipeline/prompt.ts";
import { readJson } from "../weights/json-file.ts";
import type { Context } from "./command.ts";
import type { OptionTable, OptionValues } from "./options.ts";

/** Options of longer prompts. */
export const enhanceOptions = {
  enhance: {
    kind: "text",
    value: "URL|on|rules",
    about: "rewrite prompts: OpenAI-style endpoint, OPENAI_BASE_URL, or rules",
  },
  "enhance-model": {
    kind: "text",
    value: "NAME",
    about: "with --enhance, the language model (OPENAI_MODEL)",
  },
} as const satisfies OptionTable;

/** Options that say how to enhance, and what picture the clip begins with. */
export type EnhanceValues = OptionValues<typeof enhanceOptions> & {
  readonly image?: string;
  readonly "start-image"?: string;
};

/** By whom prompts are enhanced, null where they are not. @throws ConfigError for settings that cannot be */
export function enhancerOf({
  enhance,
  "enhance-model": model,
}: OptionValues<typeof enhanceOptions>): ChatEndpoint | "rules" | null {
  if (enhance === undefined) {
    if (model === undefined) return null;
    throw new ConfigError("--enhance-model needs --enhance");
  }
  return enhance === "rules" ? "rules" : chatEndpoint(enhance, model, process.env);
}

/**
 * The prompts of a job, enhanced where asked for, each shown before and after. An endpoint that is out of reach, or
 * gives nothing of use, is replaced by the rules, which is said; one that refuses ends the job.
 * @param folder of the checkpoint, whose tokens count
 * @throws ConfigError, CancelledError
 */
export async function enhancedPrompts(
  prompts: readonly string[],
  values: EnhanceValues,
  folder: string,
  context: Context,
): Promise<readonly string[]> {
  const by = enhancerOf(values);
  if (by === null) return prompts;
  const picture = values.image ?? values["start-image"];
  const image = picture === undefined ? undefined : await pictureDataUrl(picture);
  if (image === undefined && prompts.some((prompt) => prompt.trim() === ""))
    throw new ConfigError("the prompt is empty; there is nothing to enhance");
  const tokens = await tokensOf(folder);
  const done = new Map<string, string>();
  for (const prompt of new Set(prompts)) {
    const enhanced = await enhanceOne({ prompt, image, tokens }, by, context);
    show(enhanced, context);
    done.set(prompt, enhanced.prompt);
  }
  return prompts.map((prompt) => done.get(prompt)!);
}

async function tokensOf(folder: string): Promise<EnhanceRequest["tokens"]> {
  const file = join(folder, "transformer", "config.json");
  const { maxTextLength } = parseTransformerConfig(await readJson(file), file);
  const tokenizer = await loadTokenizer(folder);
  return { count: (text) => tokenizer.encode(text).length, limit: maxTextLength };
}

async function enhanceOne(
  request: EnhanceRequest,
  by: ChatEndpoint | "rules",
  { terminal, signal }: Context,
): Promise<EnhancedPrompt> {
  const onRetry = (reason: string) => terminal.say(`asking for the prompt again: ${reason}`);
  try {
    return await enhancePrompt({ ...request, signal, onRetry }, by);
  } catch (error) {
    if (!(error instanceof EnhanceFailure) || !error.passes) throw error;
    terminal.say(`warning: ${error.message}; the prompt is enhanced by rules instead`);
    terminal.emit({ event: "enhance-failed", message: error.message });
    return enhancePrompt(request, "rules");
  }
}

function show(
  { original, prompt, originalTokens, tokens, limit }: EnhancedPrompt,
  { terminal }: Context,
): void {
  terminal.say(`prompt (${originalTokens} of ${limit} tokens): ${original}`);
  terminal.say(`enhanced (${tokens} of ${limit} tokens): ${prompt}`);
  terminal.emit({ event: "enhanced", original, prompt, originalTokens, tokens, limit });
}

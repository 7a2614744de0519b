/** @file A prompt made longer and more concrete, by a language model behind an endpoint or by rules. */
import { setTimeout as sleep } from "node:timers/promises";
import { CancelledError } from "../errors.ts";
import { askChat, type ChatEndpoint, type ChatMessage, dislikesSampling } from "./chat-endpoint.ts";
import { faultsOf, isOnlyTooLong, shortened, type TokenBudget, unwrapped } from "./checks.ts";
import { EnhanceFailure } from "./failure.ts";
import { correction, messagesFor } from "./instructions.ts";
import { enhanceByRules } from "./rules.ts";

/** What to enhance. */
export type EnhanceRequest = {
  /** May be empty where there is an image. */
  readonly prompt: string;
  /** The picture that the clip begins with, as a data URL (`data:image/jpeg;base64,...`). */
  readonly image?: string;
  /** Counts tokens as the video model's tokenizer does, the closing one included, and how many the model reads. */
  readonly tokens: TokenBudget;
  /** Stops requests and waits with a `CancelledError`. */
  readonly signal?: AbortSignal;
  /** Hears why a request is repeated, and after which wait. */
  readonly onRetry?: (reason: string, waitMs: number) => void;
};

/** A prompt before and after. */
export type EnhancedPrompt = {
  readonly original: string;
  readonly prompt: string;
  /** Tokens of both, the closing one included. */
  readonly originalTokens: number;
  readonly tokens: number;
  /** Tokens that the model reads. */
  readonly limit: number;
};

/**
 * Enhances a prompt by rules, or by an endpoint, which is asked again where it fails for a passing reason or its answer
 * cannot be used: several lines, more tokens than the model reads, an opening such as "The video shows", another
 * language, or a cut where a clip begins with a picture. An answer that is only too long after the last request is
 * shortened by whole sentences.
 * @throws EnhanceFailure, CancelledError
 */
export async function enhancePrompt(
  request: EnhanceRequest,
  by: ChatEndpoint | "rules",
): Promise<EnhancedPrompt> {
  const { prompt: original, tokens } = request;
  const prompt = by === "rules" ? enhanceByRules(request, tokens) : await askUntilFit(request, by);
  return {
    original,
    prompt,
    originalTokens: tokens.count(original),
    tokens: tokens.count(prompt),
    limit: tokens.limit,
  };
}

async function askUntilFit(request: EnhanceRequest, endpoint: ChatEndpoint): Promise<string> {
  const { tokens, signal, onRetry } = request;
  const demands = { tokens, withImage: request.image !== undefined };
  const ask = messagesFor({ ...request, limit: tokens.limit });
  let messages: readonly ChatMessage[] = ask;
  let plain = false;
  for (let attempt = 1; ; attempt++) {
    const isLast = attempt >= endpoint.attempts;
    try {
      const text = unwrapped(await askChat(endpoint, messages, { signal, plain }));
      const faults = faultsOf(text, demands);
      if (faults.length === 0) return text;
      if (isLast && isOnlyTooLong(faults)) return shortened(text, tokens);
      messages = [...ask, ...correction(text, faults, tokens.limit)];
      throw new EnhanceFailure("wrong", unfit(endpoint, faults), 0);
    } catch (error) {
      if (!(error instanceof EnhanceFailure)) throw error;
      const canBePlain = !plain && dislikesSampling(error);
      if (canBePlain) plain = true;
      else if (!error.passes || isLast) throw givingUp(error, attempt);
      const waitMs = canBePlain
        ? 0
        : (error.waitMs ?? Math.min(endpoint.retryMs * 2 ** (attempt - 1), 30_000));
      onRetry?.(error.message, waitMs);
      await wait(waitMs, signal);
    }
  }
}

function unfit({ url, model }: ChatEndpoint, faults: readonly string[]): string {
  return `the answer of ${model} at ${url.host} cannot be used, because it ${faults.join(", and it ")}`;
}

function givingUp(error: EnhanceFailure, attempts: number): EnhanceFailure {
  return attempts === 1
    ? error
    : new EnhanceFailure(error.kind, `${error.message}; gave up after ${attempts} attempts`);
}

async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {
    throw new CancelledError("stopped while waiting to ask for the prompt again");
  });
}

/** @file What a call of `cogvideox generate` asks for: prompts, seeds, and everything that can be refused at once. */
import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { ConfigError } from "../errors.ts";
import { formatOf } from "../media/formats.ts";
import { STDOUT } from "../media/fragments.ts";
import { fileError } from "../weights/file.ts";
import type { Context } from "./command.ts";
import { enhancerOf } from "./enhance-options.ts";
import { engineOptions, type GenerateValues, requestOf } from "./generate-table.ts";
import { checkedMode } from "./generation-modes.ts";
import { requireInputs, sourceNames } from "./input-files.ts";
import { likeFile } from "./like-option.ts";
import { requireUnchained } from "./long-video-options.ts";
import { precisionOf } from "./precision-option.ts";
import { requireStatesAlone } from "./prompt-states-option.ts";
import type { Job } from "./run-folder.ts";

/** The job of a call, with what a clip to be like adds to it; refused at once where no checkpoint could do it. @throws ConfigError */
export async function askedJob(
  given: GenerateValues,
  positionals: readonly string[],
  { terminal }: Pick<Context, "terminal">,
): Promise<Job> {
  const { like } = given;
  const { values, prompts } = like
    ? await likeFile(like, given, positionals, terminal.say)
    : { values: given, prompts: positionals };
  const job = await jobOf(values, prompts);
  checkJob(job);
  return job;
}

/**
 * Refuses a job before its checkpoint is opened, or even downloaded, where it cannot be done: with a file that is not
 * there, or without a prompt for nano.
 * @throws ConfigError
 */
export async function requireMakeable({ values, prompts }: Job): Promise<void> {
  await requireInputs(values);
  const { model, steps, "prompt-states": states } = values;
  // Another checkpoint may be one that does without, and says itself what it needs.
  const isNano = model === undefined && sourceNames.every((name) => values[name] === undefined);
  if (isNano && steps !== 0 && states === undefined && prompts.some((prompt) => prompt.trim() === ""))
    throw new ConfigError("the prompt is empty; describe the video in a sentence or more");
}

/** Prompts and seeds of a call, with a random seed where none is given. @throws ConfigError */
async function jobOf(values: GenerateValues, given: readonly string[]): Promise<Job> {
  if (values.prompts !== undefined && given.length > 0)
    throw new ConfigError("give prompts as arguments or with --prompts, not both");
  const word = given.length > 1 ? given.find((prompt) => !/\s/.test(prompt.trim())) : undefined;
  if (word !== undefined)
    throw new ConfigError(
      `unexpected argument ${JSON.stringify(word)}; put a prompt of several words in quotes ` +
        "(of several prompts, each makes a clip)",
    );
  const prompts = values.prompts === undefined ? given : await promptsIn(values.prompts);
  const seeds = parseSeeds(values.seed) ?? [randomInt(2 ** 32)];
  return { values, prompts: prompts.length > 0 ? prompts : [""], seeds };
}

async function promptsIn(file: string): Promise<string[]> {
  const bytes = await readFile(file).catch((cause) => {
    throw new ConfigError(fileError("read the prompts", file, cause).message, { cause });
  });
  const lines = utf8(file, bytes)
    .split(/\r?\n/)
    .map((line) => line.trim());
  const prompts = lines.filter((line) => line !== "");
  if (prompts.length > 0) return prompts;
  throw new ConfigError(`${file} holds no prompt; write one a line`);
}

function utf8(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ConfigError(`${file} is no text in UTF-8; give a text file with one prompt a line`, { cause });
  }
}

function parseSeeds(text: string | undefined): number[] | undefined {
  if (text === undefined) return undefined;
  const seeds = text.split(",").map((each) => (/^\s*-?\d+\s*$/.test(each) ? Number(each) : Number.NaN));
  if (seeds.every(Number.isSafeInteger)) return seeds;
  throw new ConfigError(
    `--seed must be a whole number of at most ${Number.MAX_SAFE_INTEGER}, or several with commas between, got "${text}"`,
  );
}

/** Refuses at once what no checkpoint could do. @throws ConfigError */
function checkJob({ values, prompts, seeds }: Job): void {
  engineOptions(values);
  precisionOf(values);
  checkedMode(values, values);
  requestOf(values);
  requireUnchained(values);
  requireStatesAlone(values, prompts);
  enhancerOf(values);
  requireOutput(values, prompts.length * seeds.length);
  if (values.preview !== undefined) formatOf(values.preview);
  else if (values["preview-decoder"] !== undefined)
    throw new ConfigError("--preview-decoder needs --preview");
  const { "checkpoint-dir": folder, "checkpoint-every": every } = values;
  if (folder === undefined && every !== undefined)
    throw new ConfigError("--checkpoint-every needs --checkpoint-dir");
  if (every !== undefined && every < 1)
    throw new ConfigError(`--checkpoint-every must be at least 1, got ${every}`);
  if (folder !== undefined && (values.invert !== undefined || values.steps === 0))
    throw new ConfigError("--checkpoint-dir does not work with --invert and --steps 0");
  if (prompts.length * seeds.length > 1 && values.latents !== undefined && new Set(seeds).size > 1)
    throw new ConfigError("--latents takes the place of the noise from the seed; give one seed");
}

function requireOutput({ output, fragmented }: GenerateValues, clips: number): void {
  if (output === STDOUT && clips > 1)
    throw new ConfigError(`there are ${clips} clips, and standard output (-o -) takes one; name a file`);
  if (output === undefined || output === STDOUT) return;
  const format = formatOf(output);
  if (fragmented && format !== "mp4")
    throw new ConfigError(`--fragmented works with .mp4 alone, got --output ${output}`);
}

/** @file What --model names: a checkpoint folder, or a model on the hub, which is downloaded unless it is in the cache. */
import { ConfigError } from "../errors.ts";
import { downloadModel, type Snapshot } from "../hub/download.ts";
import type { DownloadEvent } from "../hub/download-events.ts";
import { HubFailure } from "../hub/failure.ts";
import { looksLikeModelId } from "../hub/model-id.ts";
import { nanoFolder, nanoSiblings, packagedFolder } from "../pipeline/nano.ts";
import { exists } from "../weights/file.ts";
import type { Context } from "./command.ts";
import { byteSize, count, duration } from "./numbers.ts";
import type { Terminal } from "./terminal.ts";

/** What the help says of every option that takes a model. */
export const modelOption = {
  kind: "text",
  value: "DIR|ID",
  about: "checkpoint folder, or owner/name[@revision] on the hub (nano, which comes along)",
} as const;

/** The options that say which checkpoint is meant. */
type Asked = {
  readonly model?: string;
  readonly image?: string;
  readonly control?: string;
  readonly "start-image"?: string;
  readonly "end-image"?: string;
};

/**
 * The checkpoint folder that --model means. A folder wins over a model of the same name; anything else of the form
 * `owner/name` is downloaded, with its progress on the terminal, and `nano-i2v` and the like are what comes along. Without
 * --model it is nano, or that of its siblings which sees what is given beside the prompt.
 * @throws ConfigError when neither a folder nor the hub has it; WeightsError; CancelledError
 */
export async function modelFolder(
  { model, ...given }: Asked,
  { terminal, signal }: Pick<Context, "terminal" | "signal">,
): Promise<string> {
  if (model === undefined) return requireThere(nanoFor(given), given);
  if (await exists(model)) return model;
  if (!looksLikeModelId(model)) return packagedFolder(model) ?? model;
  try {
    return (await downloadWithProgress(model, undefined, { terminal, signal })).folder;
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof HubFailure)) throw error;
    const message = `${error.message} (there is no folder ${model} either)`;
    throw error instanceof ConfigError
      ? new ConfigError(message, { cause: error })
      : new HubFailure(error.kind, message, { cause: error });
  }
}

function nanoFor(given: Omit<Asked, "model">): string {
  if (given.image !== undefined) return nanoSiblings.image;
  if (given.control !== undefined) return nanoSiblings.control;
  const isBetween = given["start-image"] !== undefined || given["end-image"] !== undefined;
  return isBetween ? nanoSiblings.inpaint : nanoFolder;
}

/** @throws ConfigError for a sibling that does not come along */
async function requireThere(folder: string, given: Omit<Asked, "model">): Promise<string> {
  if (await exists(folder)) return folder;
  const option = (["image", "control", "start-image", "end-image"] as const).find((name) => given[name]);
  throw new ConfigError(
    `no model that takes --${option} comes along here (there is no ${folder}); give --model, a checkpoint that does`,
  );
}

/** Downloads a model and tells people and programs how it goes. */
export async function downloadWithProgress(
  model: string,
  revision: string | undefined,
  { terminal, signal }: Pick<Context, "terminal" | "signal">,
): Promise<Snapshot> {
  const onEvent = (event: DownloadEvent) => {
    describe(event, terminal);
    const { kind, ...rest } = event;
    terminal.emit({ event: `download-${kind}`, ...rest });
  };
  return downloadModel(model, { revision, signal, onEvent });
}

function describe(event: DownloadEvent, terminal: Terminal): void {
  switch (event.kind) {
    case "licence":
      sayLicence(event, terminal);
      break;
    case "plan":
      terminal.say(`downloading ${event.id}: ${count(event.files, "file")}, ${byteSize(event.bytes)}`);
      break;
    case "progress":
      terminal.progress(progressLine(event));
      break;
    case "retry":
      terminal.say(`${event.reason}${event.waitMs > 0 ? `; again in ${duration(event.waitMs / 1000)}` : ""}`);
      break;
    case "cached":
      terminal.say(`warning: ${event.reason}; using the copy in the cache`);
      break;
    case "file":
      if (event.path.endsWith(".safetensors")) terminal.say(`${event.path}  ${byteSize(event.bytes)}`);
  }
}

function sayLicence({ id, licence, text }: DownloadEvent & { kind: "licence" }, terminal: Terminal): void {
  terminal.say(`${id} is given out under this licence: ${licence.name} (${licence.url})`);
  for (const sentence of licence.summary) terminal.say(`  ${sentence}`);
  if (!licence.special || text === null) return;
  terminal.say("");
  for (const line of text.trimEnd().split(/\r?\n/)) terminal.say(`  | ${printable(line)}`);
  terminal.say("");
}

function progressLine(event: DownloadEvent & { kind: "progress" }): string {
  const { done, total, bytesPerSecond, secondsLeft } = event;
  const rate = bytesPerSecond === null ? "" : `  ${byteSize(Math.round(bytesPerSecond))}/s`;
  const left = secondsLeft === null ? "" : `  ${duration(secondsLeft)} left`;
  return `downloading ${((100 * done) / total).toFixed(1)} %  ${byteSize(done)} of ${byteSize(total)}${rate}${left}`;
}

/** Text from the network must not steer the terminal. */
function printable(line: string): string {
  return [...line].map((char) => (char < " " || (char >= "\x7f" && char < "\xa0") ? " " : char)).join("");
}

/** @file A repository that looks like a checkpoint, served on loopback, and what a download makes of it. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { downloadModel } from "../../src/hub/download.ts";
import type { DownloadEvent } from "../../src/hub/download-events.ts";
import type { HubSettings } from "../../src/hub/settings.ts";
import { temporaryFolder } from "./command-line.ts";
import { etagOf, type Files, gitId, type HubServer, hubServer, settingsFor } from "./hub-server.ts";

export const weights = "transformer/diffusion_pytorch_model.safetensors";
export const shards = [1, 2].map((n) => `text_encoder/model-0000${n}-of-00002.safetensors`);

/** What a checkpoint needs, with content that only checksums look at. */
export const checkpoint: Files = {
  "model_index.json": json({
    _class_name: "CogVideoXPipeline",
    _diffusers_version: "0.30.0",
    scheduler: ["diffusers", "CogVideoXDDIMScheduler"],
    text_encoder: ["transformers", "T5EncoderModel"],
    tokenizer: ["transformers", "T5Tokenizer"],
    transformer: ["diffusers", "CogVideoXTransformer3DModel"],
    vae: ["diffusers", "AutoencoderKLCogVideoX"],
    safety_checker: [null, null],
  }),
  "scheduler/scheduler_config.json": json({ a: 1 }),
  "text_encoder/config.json": json({ b: 1 }),
  "text_encoder/model.safetensors.index.json": json({
    weight_map: { one: "model-00001-of-00002.safetensors", two: "model-00002-of-00002.safetensors" },
  }),
  [shards[0]]: noise(70_000, 1),
  [shards[1]]: noise(50_000, 2),
  "tokenizer/spiece.model": noise(5_000, 3),
  "tokenizer/tokenizer_config.json": json({ c: 1 }),
  "tokenizer/added_tokens.json": json({}),
  "transformer/config.json": json({ d: 1 }),
  [weights]: noise(400_000, 4),
  "vae/config.json": json({ e: 1 }),
  "vae/diffusion_pytorch_model.safetensors": noise(30_000, 5),
};
export const licence: Files = { LICENSE: Buffer.from("The Licence\n") };
/** What stands beside it on the hub and is of no use here. */
export const others: Files = {
  ".gitattributes": Buffer.from("x"),
  "README.md": Buffer.from("# Model"),
  "transformer/diffusion_pytorch_model.fp16.safetensors": noise(100, 6),
  "text_encoder/pytorch_model.bin": noise(100, 7),
  "text_encoder/flax_model.msgpack": noise(100, 8),
  "vae/diffusion_pytorch_model.bin": noise(100, 9),
  "extra/config.json": json({}),
};
export const repository: Files = { ...checkpoint, ...licence, ...others };

/** Git ids by path of all that a snapshot holds after a download. */
export const whole = (): Record<string, string> => hexOf({ ...checkpoint, ...licence });

/** A hub with a repository, an empty cache, and the download of one into the other. */
export async function serving(files: Files = repository) {
  const hub = await hubServer(files);
  const cache = join(temporaryFolder(), "cache");
  const download = (
    change: Partial<HubSettings> = {},
    model = "owner/model",
    onEvent?: (event: DownloadEvent) => unknown,
    signal?: AbortSignal,
  ) => downloadModel(model, { settings: settingsFor(hub, cache, change), onEvent, signal });
  return { hub, cache, download };
}

export function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Bytes that look random and are the same every time (a linear congruential generator). */
export function noise(length: number, seed: number): Buffer {
  let state = seed * 7919 + 1;
  return Buffer.from({ length } as ArrayLike<number>).map(() => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  }) as Buffer;
}

export function contentOf(folder: string): Record<string, string> {
  const paths = readdirSync(folder, { recursive: true }).map(String);
  const files = paths.filter((path) => statSync(join(folder, path)).isFile());
  return Object.fromEntries(files.sort().map((path) => [path, gitId(readFileSync(join(folder, path)))]));
}

export function hexOf(files: Files): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([path, bytes]) => [path, gitId(bytes)]));
}

/** Every file in blobs/ has the content that its name says, or says itself that it is not complete. */
export function expectWholeBlobs(repo: string): void {
  const blobs = join(repo, "blobs");
  if (!existsSync(blobs)) return;
  const known = new Set(
    Object.entries(repository).map(([path, bytes]) => `${etagOf(path, bytes)} ${gitId(bytes)}`),
  );
  for (const name of readdirSync(blobs).filter((file) => !file.endsWith(".incomplete")))
    expect(known).toContain(`${name} ${gitId(readFileSync(join(blobs, name)))}`);
}

export function isContent(hub: HubServer, { headers }: { headers: { host?: string } }): boolean {
  return `http://${headers.host}` === hub.cdn;
}

export function contentAt(hub: HubServer, url: string): Buffer {
  const [, commit, path] = /^\/([^/]+)\/(.+)\?/.exec(url)!;
  return hub.commits[commit][path];
}

export function rangeOf({ headers }: { headers: { range?: string } }): number {
  return Number(/\d+/.exec(headers.range ?? "0")![0]);
}

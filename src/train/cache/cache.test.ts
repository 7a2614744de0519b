/** @file Tests of the cache: what its keys depend on, damage and kills. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Moments } from "../../diffusion/posterior.ts";
import { ConfigError, SessionError } from "../../errors.ts";
import { type Content, openCache } from "./cache.ts";
import type { Facts } from "./key.ts";

const folder = mkdtempSync(join(tmpdir(), "cache-"));
afterAll(() => rmSync(folder, { recursive: true }));
let numFolders = 0;
const newFolder = () => join(folder, String(++numFolders));

const moments: Moments = {
  shape: [1, 2, 1, 2],
  mean: Float32Array.of(0.1, -2, 3.1, 4),
  logVariance: Float32Array.of(-30, -1.5, 0, 20),
};
const encoder = "vae of the test";

function wanted(content: Content, preprocessing: Facts = { fps: 8, crop: "centre", size: [9, 480, 720] }) {
  return { content, preprocessing, encoder };
}

function write(name: string, bytes: string): { file: string } {
  const file = join(folder, "clips", name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes);
  return { file };
}

function entriesOf(cacheFolder: string): string[] {
  return (readdirSync(cacheFolder, { recursive: true }) as string[])
    .filter((name) => name.endsWith(".safetensors"))
    .map((name) => join(cacheFolder, name));
}

/** For entries that have to be there. */
async function missing(): Promise<never> {
  throw new SessionError("the entry is not there");
}

/** Counts how often it encodes. */
function counting(value: Moments = moments) {
  const encode = async () => {
    encode.calls++;
    return value;
  };
  encode.calls = 0;
  return encode;
}

describe("a cache", () => {
  test("encodes once, and gives the same values hot, cold and in a later process", async () => {
    const at = newFolder();
    const encode = counting();
    const cache = await openCache(at);
    const cold = await cache.momentsOf(wanted({ text: "a" }), encode);
    const hot = await cache.momentsOf(wanted({ text: "a" }), encode);
    const later = await (await openCache(at)).momentsOf(wanted({ text: "a" }), encode);
    expect(encode.calls).toBe(1);
    expect(hot).toEqual(cold);
    expect(later).toEqual(cold);
    expect(cold.mean).toBeCloseToArray(moments.mean, { rtol: 2 ** -11 });
    expect(cache.counts).toEqual({ hits: 1, misses: 1, damaged: 0 });
  });

  test("keeps every bit in full precision, and what half precision cannot hold", async () => {
    const cache = await openCache(newFolder(), { precision: "f32" });
    expect(await cache.momentsOf(wanted({ text: "a" }), counting())).toEqual(moments);
    const half = await openCache(newFolder());
    const states = { shape: [1, 2], data: Float32Array.of(1e6, 0.1) };
    await half.textOf(wanted({ text: "a" }), async () => states);
    expect(await half.textOf(wanted({ text: "a" }), missing)).toEqual(states);
  });

  test("encodes once for callers at the same time", async () => {
    const cache = await openCache(newFolder());
    const encode = counting();
    const all = await Promise.all([1, 2, 3].map(() => cache.momentsOf(wanted({ text: "a" }), encode)));
    expect(encode.calls).toBe(1);
    expect(all[2]).toEqual(all[0]);
  });

  test("does not keep a failure, and no numbers that are not finite", async () => {
    const at = newFolder();
    const cache = await openCache(at);
    const broken = { ...moments, mean: Float32Array.of(Number.NaN, 0, 0, 0) };
    await expect(cache.momentsOf(wanted({ text: "a" }), counting(broken))).rejects.toThrow(SessionError);
    await expect(cache.momentsOf(wanted({ text: "a" }), missing)).rejects.toThrow(/is not there/);
    expect(entriesOf(at)).toEqual([]);
    expect((await cache.momentsOf(wanted({ text: "a" }), counting())).shape).toEqual([1, 2, 1, 2]);
  });

  test("refuses a folder of other things and a cache of another version", async () => {
    const other = dirname(write("videos/x.mp4", "x").file);
    await expect(openCache(other)).rejects.toThrow(/holds "x.mp4" and is no cache/);
    const at = newFolder();
    await openCache(at);
    writeFileSync(join(at, "cache.json"), '{"format":"cogvideox-cache","version":0}\n');
    await expect(openCache(at)).rejects.toThrow(ConfigError);
  });
});

describe("an entry is made anew", () => {
  const clip = write("one/x.mp4", "frames");
  const base = { fps: 8, crop: "centre", size: [9, 480, 720] };
  const cases: readonly (readonly [what: string, Content, Facts, string])[] = [
    ["the crop policy", clip, { ...base, crop: "random" }, encoder],
    ["the size", clip, { ...base, size: [9, 480, 704] }, encoder],
    ["the rate", clip, { ...base, fps: 16 }, encoder],
    ["the window", clip, { ...base, window: 1.5 }, encoder],
    ["the prompt's length", clip, { ...base, promptLength: 226 }, encoder],
    ["the encoder", clip, base, "another vae"],
    ["the clip, under the same file name", write("two/x.mp4", "other frames"), base, encoder],
    ["the clip for a text of the same characters", { text: "frames" }, base, encoder],
  ];

  test.each(cases)("for another value of %s", async (_, content, preprocessing, otherEncoder) => {
    const cache = await openCache(newFolder());
    const encode = counting();
    await cache.momentsOf({ content: clip, preprocessing: base, encoder }, encode);
    await cache.momentsOf({ content, preprocessing, encoder: otherEncoder }, encode);
    expect(encode.calls).toBe(2);
    await cache.momentsOf({ content: clip, preprocessing: base, encoder }, encode);
    expect(encode.calls).toBe(2);
  });

  test("but not for another order of the settings, or a copy of the clip", async () => {
    const cache = await openCache(newFolder());
    const encode = counting();
    await cache.momentsOf(wanted(clip, { a: 1, b: 2, c: undefined }), encode);
    await cache.momentsOf(wanted(write("three/y.mp4", "frames"), { b: 2, a: 1 }), encode);
    expect(encode.calls).toBe(1);
  });

  test("for a number format, and for moments beside text", async () => {
    const at = newFolder();
    const half = await openCache(at);
    const encode = counting();
    await half.momentsOf(wanted(clip), encode);
    await (await openCache(at, { precision: "f32" })).momentsOf(wanted(clip), encode);
    await half.textOf(wanted(clip), async () => ({ shape: [1], data: Float32Array.of(1) }));
    expect(encode.calls).toBe(2);
    expect(half.counts.misses).toBe(2);
  });

  test("when the file is replaced, even by one of the same size and time", async () => {
    const file = write("replaced.mp4", "first bytes");
    const hour = new Date(Date.now() - 3_600_000);
    utimesSync(file.file, hour, hour);
    const at = newFolder();
    const encode = counting();
    await (await openCache(at)).momentsOf(wanted(file), encode);
    writeFileSync(file.file, "other bytes");
    utimesSync(file.file, hour, hour);
    const cache = await openCache(at);
    await cache.momentsOf(wanted(file), encode);
    expect(encode.calls).toBe(2);
    expect(cache.counts).toEqual({ hits: 0, misses: 1, damaged: 0 });
  });

  test("when it is damaged: cut, flipped, empty, or the entry of another key", async () => {
    const at = newFolder();
    const encode = counting();
    const cache = await openCache(at);
    const cold = await cache.momentsOf(wanted(clip), encode);
    const [file] = entriesOf(at);
    const whole = readFileSync(file);
    await cache.momentsOf(wanted({ text: "other" }), counting());
    const other = entriesOf(at).find((name) => name !== file)!;
    const flipped = Buffer.from(whole);
    flipped[whole.length - 3] ^= 1;
    const damages = [whole.subarray(0, whole.length - 1), flipped, Buffer.alloc(0), readFileSync(other)];
    for (const [i, damage] of damages.entries()) {
      writeFileSync(file, damage);
      expect(await cache.momentsOf(wanted(clip), encode)).toEqual(cold);
      expect(encode.calls).toBe(2 + i);
      expect(readFileSync(file)).toEqual(whole);
    }
    expect(cache.counts.damaged).toBe(4);
  });

  test("says which number it cannot depend on, and which file is missing", async () => {
    const cache = await openCache(newFolder());
    await expect(cache.momentsOf(wanted(clip, { fps: Number.NaN }), counting())).rejects.toThrow(/NaN/);
    await expect(cache.momentsOf(wanted({ file: "/no/clip.mp4" }), counting())).rejects.toThrow(
      /no file or folder "\/no\/clip.mp4"/,
    );
  });
});

describe("digests", () => {
  test("of an encoder follow its configuration and weights, not their place", async () => {
    const cache = await openCache(newFolder());
    const [a, b] = [write("vae/w.safetensors", "weights").file, write("copy/v.safetensors", "weights").file];
    const c = write("vae2/w.safetensors", "Weights").file;
    const of = (config: Facts, file: string) => cache.encoderIdentity(config, [file]);
    expect(await of({ channels: 16 }, a)).toBe(await of({ channels: 16 }, b));
    expect(await of({ channels: 16 }, a)).not.toBe(await of({ channels: 8 }, a));
    expect(await of({ channels: 16 }, a)).not.toBe(await of({ channels: 16 }, c));
  });

  test("of folders follow the names and contents of their frames", async () => {
    const cache = await openCache(newFolder());
    const frames = (name: string, second: string) => {
      write(`${name}/0.png`, "0");
      return { file: dirname(write(`${name}/${second}`, "1").file) };
    };
    const digest = await cache.digestOf(frames("f", "1.png"));
    expect(await cache.digestOf(frames("g", "1.png"))).toBe(digest);
    expect(await cache.digestOf(frames("h", "2.png"))).not.toBe(digest);
  });

  test("are remembered for files that have not changed for a while", async () => {
    const at = newFolder();
    // This file is older than the test.
    const file = { file: new URL("./cache.ts", import.meta.url).pathname };
    const digest = await (await openCache(at)).digestOf(file);
    const [memo] = (readdirSync(join(at, "digests"), { recursive: true }) as string[])
      .map((name) => join(at, "digests", name))
      .filter((name) => statSync(name).isFile());
    expect(readFileSync(memo, "utf8")).toBe(digest);
    writeFileSync(memo, "f".repeat(64));
    expect(await (await openCache(at)).digestOf(file)).toBe("f".repeat(64));
    writeFileSync(memo, "damaged");
    expect(await (await openCache(at)).digestOf(file)).toBe(digest);
  });
});

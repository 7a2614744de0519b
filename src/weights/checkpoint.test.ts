/** @file Tests of opening checkpoint folders: official layouts, broken indexes, links. */
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WeightsError } from "../errors.ts";
import { openWeights, type WeightSet } from "./checkpoint.ts";
import { externalBase } from "./external-base.ts";
import { readFloats } from "./read.ts";
import { writeSafetensors } from "./write.ts";

let root: string;
let folder: string;
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "cogvideox-checkpoint-")));
  folder = join(root, "transformer");
  await mkdir(folder);
});
afterEach(() => rm(root, { recursive: true }));

const indexName = "diffusion_pytorch_model.safetensors.index.json";
const shardName = (i: number) => `diffusion_pytorch_model-0000${i}-of-00002.safetensors`;

/** A file whose tensors are vectors of the given value and length 2. */
function writeValues(file: string, values: Record<string, number>): Promise<void> {
  const entries = Object.entries(values).map(([name, value]) => [
    name,
    { dtype: "F32", shape: [2], data: Float32Array.of(value, value) } as const,
  ]);
  return writeSafetensors(file, Object.fromEntries(entries));
}

async function writeShards(map: unknown, first: Record<string, number>, second: Record<string, number>) {
  await writeValues(join(folder, shardName(1)), first);
  await writeValues(join(folder, shardName(2)), second);
  await writeFile(join(folder, indexName), JSON.stringify({ metadata: { total_size: 16 }, weight_map: map }));
}

async function firstValue(set: WeightSet, name: string): Promise<number> {
  return (await readFloats(set.tensors.get(name)!))[0];
}

describe("opens", () => {
  test.each(["diffusion_pytorch_model.safetensors", "model.safetensors"])("a single %s", async (name) => {
    await writeValues(join(folder, name), { a: 1, b: 2 });
    const set = await openWeights(folder);
    expect(set.folder).toBe(folder);
    expect([...set.tensors.keys()]).toEqual(["a", "b"]);
    expect(set.totalBytes).toBe(16);
    expect(set.realPaths).toEqual(new Map([[join(folder, name), join(folder, name)]]));
  });

  test("shards, each tensor from its own file", async () => {
    await writeShards({ a: shardName(1), b: shardName(2) }, { a: 1 }, { b: 2 });
    const set = await openWeights(folder);
    expect(set.tensors.get("a")!.file).toBe(join(folder, shardName(1)));
    expect(await firstValue(set, "b")).toBe(2);
    expect(set.realPaths.size).toBe(2);
  });

  test("shards of a text encoder", async () => {
    await writeValues(join(folder, "model-00001-of-00001.safetensors"), { a: 1 });
    const index = { weight_map: { a: "model-00001-of-00001.safetensors" } };
    await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
    expect((await openWeights(folder)).tensors.size).toBe(1);
  });

  test("shards with tensors that the index does not name, or names elsewhere", async () => {
    await writeShards({ a: shardName(1), b: shardName(2) }, { a: 1, b: 7 }, { b: 2, extra: 3 });
    const set = await openWeights(folder);
    expect([...set.tensors.keys()].sort()).toEqual(["a", "b", "extra"]);
    expect(await firstValue(set, "b")).toBe(2);
  });

  test("the shards of a diffusers part but the single file of a text encoder when both are there", async () => {
    await writeShards({ a: shardName(1), b: shardName(2) }, { a: 1 }, { b: 2 });
    await writeValues(join(folder, "diffusion_pytorch_model.safetensors"), { old: 1 });
    expect((await openWeights(folder)).tensors.size).toBe(2);
    const encoder = join(root, "text_encoder");
    await mkdir(encoder);
    await writeValues(join(encoder, "model.safetensors"), { a: 1 });
    await writeFile(join(encoder, "model.safetensors.index.json"), "not looked at");
    expect((await openWeights(encoder)).tensors.size).toBe(1);
  });
});

describe("refuses", () => {
  async function messageOf(): Promise<string> {
    const error = await openWeights(folder).catch((error) => error);
    expect(error).toBeInstanceOf(WeightsError);
    return error.message;
  }

  test.each<[string, string, RegExp]>([
    ["is not JSON", "{", /index: it is not JSON/],
    ["is not an object", "[]", /must be an object, got \[\]/],
    ["has no weight_map", "{}", /weight_map must be an object, got nothing/],
    ["has an empty weight_map", '{"weight_map":{}}', /weight_map is empty/],
    ["names a tensor twice", '{"weight_map":{"a":"x","a":"y"}}', /key "a" more than once/],
    ["places a tensor in no file", '{"weight_map":{"a":1}}', /tensor "a" in 1, where a file name/],
    ["names a pickle", '{"weight_map":{"a":"x.bin"}}', /"x.bin", where a .safetensors file/],
    [
      "names a file that is missing",
      '{"weight_map":{"a":"x.safetensors"}}',
      /"x.safetensors", and no such file/,
    ],
  ])("an index that %s", async (_, text, message) => {
    await writeFile(join(folder, indexName), text);
    const error = await messageOf();
    expect(error).toMatch(message);
    expect(error).toContain(join(folder, indexName));
  });

  test("an index that leads out of the folder, even to a file that is there", async () => {
    await writeValues(join(root, "x.safetensors"), { a: 1 });
    const outside = [
      "../x.safetensors",
      "b/../../x.safetensors",
      join(root, "x.safetensors"),
      "..\\x.safetensors",
    ];
    for (const shard of [...outside, "C:x.safetensors", "x\0.safetensors"]) {
      await writeFile(join(folder, indexName), JSON.stringify({ weight_map: { a: shard } }));
      expect(await messageOf()).toMatch(/leads out of the checkpoint's folder/);
    }
  });

  test("an index that places a tensor in a shard without it", async () => {
    await writeShards({ a: shardName(1), b: shardName(2), c: shardName(2) }, { a: 1 }, { b: 2 });
    expect(await messageOf()).toMatch(/places tensor "c" in ".*00002.*", but that file does not hold it/);
  });

  test("shards that both hold a tensor which the index does not name", async () => {
    await writeShards({ a: shardName(1), b: shardName(2) }, { a: 1, c: 1 }, { b: 2, c: 2 });
    expect(await messageOf()).toMatch(/both hold tensor "c"/);
  });

  test("a broken shard, by its own name", async () => {
    await writeShards({ a: shardName(1), b: shardName(2) }, { a: 1 }, { b: 2 });
    await writeFile(join(folder, shardName(2)), "short");
    expect(await messageOf()).toContain(`${join(folder, shardName(2))} is not a valid safetensors file`);
  });

  test("a shard that is a link to nothing", async () => {
    await symlink(join(root, "gone"), join(folder, "x.safetensors"));
    await writeFile(join(folder, indexName), '{"weight_map":{"a":"x.safetensors"}}');
    expect(await messageOf()).toMatch(/names the shard "x.safetensors", and no such file/);
  });

  test("pickled weights, saying why", async () => {
    await writeFile(join(folder, "diffusion_pytorch_model.bin"), "");
    expect(await messageOf()).toMatch(/only pickled weights \(diffusion_pytorch_model.bin\).*can run code/);
  });

  test("weights under another name, saying which were expected", async () => {
    await writeFile(join(folder, "diffusion_pytorch_model.fp16.safetensors"), "");
    expect(await messageOf()).toMatch(
      /holds diffusion_pytorch_model.fp16.safetensors, none under an official/,
    );
  });

  test("an empty folder, a missing folder and a file", async () => {
    expect(await messageOf()).toMatch(/holds no weights; expected diffusion_pytorch_model.safetensors/);
    await expect(openWeights(join(root, "none"))).rejects.toThrow(/none does not exist/);
    await writeFile(join(root, "file"), "");
    await expect(openWeights(join(root, "file"))).rejects.toThrow(/file is not a folder/);
  });
});

describe("the base folder for the engine", () => {
  test("is the folder itself when there are no links", async () => {
    await writeShards({ a: shardName(1), b: shardName(2) }, { a: 1 }, { b: 2 });
    const set = await openWeights(folder);
    const { base, location } = externalBase(set);
    expect(base).toBe(folder);
    expect(location(set.tensors.get("a")!.file)).toBe(shardName(1));
  });

  test("is the folder of the blobs in a Hugging Face cache", async () => {
    const snapshot = join(root, "models--zai-org--CogVideoX-2b", "snapshots", "1137dac", "transformer");
    const blobs = join(root, "models--zai-org--CogVideoX-2b", "blobs");
    await mkdir(snapshot, { recursive: true });
    await mkdir(blobs);
    await writeValues(join(blobs, "4a7bc"), { a: 5 });
    const link = join(snapshot, "diffusion_pytorch_model.safetensors");
    await symlink("../../../blobs/4a7bc", link);
    const set = await openWeights(snapshot);
    expect(set.realPaths).toEqual(new Map([[link, join(blobs, "4a7bc")]]));
    expect(set.tensors.get("a")!.file).toBe(link);
    expect(await firstValue(set, "a")).toBe(5);
    const { base, location } = externalBase(set);
    expect(base).toBe(blobs);
    expect(location(link)).toBe("4a7bc");
  });

  test("is the deepest folder above shards that lie apart", async () => {
    await mkdir(join(root, "store", "deep"), { recursive: true });
    await writeValues(join(root, "store", "deep", "one"), { a: 1 });
    await writeValues(join(root, "store", "two"), { b: 2 });
    await symlink(join(root, "store", "deep", "one"), join(folder, shardName(1)));
    await symlink(join(root, "store", "two"), join(folder, shardName(2)));
    const index = { weight_map: { a: shardName(1), b: shardName(2) } };
    await writeFile(join(folder, indexName), JSON.stringify(index));
    const set = await openWeights(folder);
    const { base, location } = externalBase(set);
    expect(base).toBe(join(root, "store"));
    expect([...set.realPaths.keys()].map(location)).toEqual(["deep/one", "two"]);
  });

  test("is real when the folder was reached through a link", async () => {
    await writeValues(join(folder, "model.safetensors"), { a: 1 });
    await symlink(folder, join(root, "link"));
    expect(externalBase(await openWeights(join(root, "link"))).base).toBe(folder);
  });

  test("is the file system's root when nothing else is shared", () => {
    const realPaths = new Map([
      ["/a/x", "/a/x"],
      ["/b/y", "/b/y"],
    ]);
    const { base, location } = externalBase({ folder: "/", tensors: new Map(), totalBytes: 0, realPaths });
    expect(base).toBe("/");
    expect(location("/b/y")).toBe("b/y");
  });

  test("has no place for a file of another set, and none for a set without files", async () => {
    await writeValues(join(folder, "model.safetensors"), { a: 1 });
    const set = await openWeights(folder);
    expect(() => externalBase(set).location("/elsewhere")).toThrow(/\/elsewhere holds no weights of/);
    expect(() => externalBase({ ...set, realPaths: new Map() })).toThrow(WeightsError);
  });
});

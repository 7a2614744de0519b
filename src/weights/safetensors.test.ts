/** @file Tests of the header reader against right and wrong files. */
import { mkdtemp, open, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WeightsError } from "../errors.ts";
import { readBytes, readTensor } from "./read.ts";
import { readHeader } from "./safetensors.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogvideox-safetensors-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** A file with that header text, a length field that says so unless told otherwise, and zeros as data. */
async function writeRaw(header: string | Uint8Array, dataBytes = 0, claimed?: bigint): Promise<string> {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, claimed ?? BigInt(json.length), true);
  bytes.set(json, 8);
  const file = join(folder, "raw.safetensors");
  await writeFile(file, bytes);
  return file;
}

const tensor = (shape: unknown, offsets: unknown, dtype: unknown = "F32") =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

describe("accepts", () => {
  test("a file without tensors", async () => {
    const { tensors, metadata } = await readHeader(await writeRaw("{}"));
    expect(tensors.size).toBe(0);
    expect(metadata).toEqual({});
  });

  test("an unaligned header and unaligned data", async () => {
    const file = await writeRaw(`{"a":${tensor([3], [0, 3], "U8")},"b":${tensor([1], [3, 7])}}  `, 7);
    const { tensors } = await readHeader(file);
    const start = 8 + `{"a":${tensor([3], [0, 3], "U8")},"b":${tensor([1], [3, 7])}}  `.length;
    expect(tensors.get("b")).toEqual({
      name: "b",
      dtype: "F32",
      shape: [1],
      file,
      offset: start + 3,
      byteLength: 4,
    });
    expect(await readTensor(tensors.get("b")!)).toEqual(new Float32Array(1));
  });

  test("tensors listed in another order than their data", async () => {
    const file = await writeRaw(`{"b":${tensor([1], [4, 8])},"a":${tensor([1], [0, 4])}}`, 8);
    expect([...(await readHeader(file)).tensors.keys()]).toEqual(["a", "b"]);
  });

  test("scalars, empty tensors anywhere, packed kinds and odd names", async () => {
    const entries = [
      `"":${tensor([], [0, 4])}`,
      `"__proto__":${tensor([0, 3], [4, 4])}`,
      `"f4":${tensor([3, 2], [4, 7], "F4")}`,
      `"f6":${tensor([4], [7, 10], "F6_E2M3")}`,
      `"constructor":${tensor([0], [10, 10])}`,
    ];
    const { tensors } = await readHeader(await writeRaw(`{${entries}}`, 10));
    expect([...tensors.keys()]).toEqual(["", "__proto__", "f4", "f6", "constructor"]);
    expect(await readBytes(tensors.get("f4")!)).toEqual(new Uint8Array(3));
  });

  test("metadata, also with odd keys", async () => {
    const { metadata } = await readHeader(await writeRaw('{"__metadata__":{"format":"pt","__proto__":"x"}}'));
    expect(Object.entries(metadata)).toEqual([
      ["format", "pt"],
      ["__proto__", "x"],
    ]);
  });

  test("a file reached through a symbolic link", async () => {
    const file = await writeRaw("{}");
    await symlink(file, join(folder, "link.safetensors"));
    expect((await readHeader(join(folder, "link.safetensors"))).file).toBe(join(folder, "link.safetensors"));
  });

  test("data beyond 4 GiB", async () => {
    const big = 5 * 2 ** 30;
    const file = await writeRaw(
      `{"big":${tensor([5, 2 ** 30], [0, big], "U8")},"last":${tensor([2], [big, big + 4], "I16")}}`,
    );
    // A hole on file systems that know holes: takes no space and no time.
    const handle = await open(file, "r+");
    const start = (await handle.stat()).size;
    await handle.write(Uint8Array.of(1, 0, 255, 255), 0, 4, start + big);
    await handle.close();
    const { tensors } = await readHeader(file);
    expect(tensors.get("last")!.offset).toBe(start + big);
    expect(await readTensor(tensors.get("last")!)).toEqual(Int16Array.of(1, -1));
  });
});

describe("refuses", () => {
  const one = tensor([1], [0, 4]);
  const cases: [string, string | Uint8Array, number, RegExp][] = [
    ["text that is not UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), 0, /header is not UTF-8/],
    ["text that is not JSON", "{nope}", 0, /header is not JSON \(/],
    ["a byte order mark", "\ufeff{}", 0, /header is not JSON/],
    ["space before the brace", " {}", 0, /must begin with \{/],
    ["an array", "[1,2]", 0, /must be an object, got \[1,2\]/],
    ["a null header", "null", 0, /must be an object, got null/],
    ["an empty header", "", 0, /not JSON/],
    ["a name twice", `{"a":${one},"a":${one}}`, 4, /holds the key "a" more than once/],
    ["a name twice, once escaped", `{"ab":${one},"\\u0061b":${one}}`, 4, /holds the key "ab" more than once/],
    ["a quoted name twice", `{"a\\"":${one},"a\\"":${one}}`, 4, /holds the key "a\\"" more than once/],
    [
      "a field twice",
      '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      4,
      /"dtype" more/,
    ],
    ["metadata that is no object", '{"__metadata__":[]}', 0, /__metadata__ must be an object/],
    ["metadata that is not text", '{"__metadata__":{"a":1}}', 0, /holds 1 under "a", where only text/],
    ["a tensor that is no object", '{"a":7}', 0, /tensor "a" must be described by an object, got 7/],
    ["an unknown dtype", `{"a":${tensor([1], [0, 4], "F33")}}`, 4, /tensor "a" has dtype "F33".*BF16/],
    ["a dtype named like a method", `{"a":${tensor([1], [0, 4], "toString")}}`, 4, /has dtype "toString"/],
    ["a missing dtype", '{"a":{"shape":[1],"data_offsets":[0,4]}}', 4, /has dtype nothing/],
    ["a negative dimension", `{"a":${tensor([-1], [0, 4])}}`, 4, /has shape \[-1\].*non-negative/],
    ["a fractional dimension", `{"a":${tensor([0.5], [0, 4])}}`, 4, /has shape \[0\.5\]/],
    [
      "a dimension beyond 2^53",
      '{"a":{"dtype":"U8","shape":[1e300],"data_offsets":[0,4]}}',
      4,
      /\[1e\+300\]/,
    ],
    ["a shape that is no list", `{"a":${tensor(4, [0, 4])}}`, 4, /has shape 4/],
    ["a shape of text", `{"a":${tensor(["1"], [0, 4])}}`, 4, /has shape \["1"\]/],
    ["a product that overflows", `{"a":${tensor([2 ** 30, 2 ** 30], [0, 4])}}`, 4, /takes no whole/],
    ["packed elements that end in a byte", `{"a":${tensor([3], [0, 2], "F4")}}`, 2, /takes no whole/],
    ["three offsets", `{"a":${tensor([1], [0, 4, 8])}}`, 4, /data_offsets \[0,4,8\]/],
    ["a negative offset", `{"a":${tensor([1], [-4, 0])}}`, 4, /data_offsets \[-4,0\]/],
    ["an end before the begin", `{"a":${tensor([1], [4, 0])}}`, 4, /begin is behind the end/],
    ["an end beyond the file", `{"a":${tensor([2], [0, 8])}}`, 4, /ends at byte 8 of the data.*4 bytes/],
    ["bytes that do not fit the shape", `{"a":${tensor([2], [0, 4])}}`, 4, /takes 8 bytes, but .* span 4/],
    [
      "an overlap",
      `{"a":${tensor([2], [0, 8])},"b":${tensor([1], [4, 8])}}`,
      8,
      /"b" overlaps tensor "a" by 4/,
    ],
    ["a hole", `{"a":${one},"b":${tensor([1], [5, 9])}}`, 9, /1 bytes between tensor "a" and tensor "b"/],
    ["a hole at the start", `{"a":${tensor([1], [2, 6])}}`, 6, /2 bytes between the header and tensor "a"/],
    ["bytes behind the last tensor", `{"a":${one}}`, 7, /3 bytes behind tensor "a" belong to no tensor/],
    ["bytes without a tensor", "{}", 2, /2 bytes behind the header/],
  ];
  test.each(cases)("%s", async (_, header, dataBytes, message) => {
    const file = await writeRaw(header, dataBytes);
    const error = await readHeader(file).catch((error) => error);
    expect(error).toBeInstanceOf(WeightsError);
    expect(error.message).toMatch(message);
    expect(error.message).toContain(file);
  });

  test("a header that is longer than the file", async () => {
    const file = await writeRaw("{}", 0, 3n);
    await expect(readHeader(file)).rejects.toThrow(/claims 3 bytes, but only 2 follow/);
  });

  test("a header longer than the format allows, before reading it", async () => {
    for (const claimed of [100_000_001n, 2n ** 64n - 1n])
      await expect(readHeader(await writeRaw("{}", 0, claimed))).rejects.toThrow(`claims ${claimed} bytes`);
  });

  test("files shorter than the length field", async () => {
    const file = join(folder, "short.safetensors");
    for (const size of [0, 7]) {
      await writeFile(file, new Uint8Array(size));
      await expect(readHeader(file)).rejects.toThrow(`it has ${size} bytes`);
    }
  });

  test("a Git LFS pointer, with the command that fetches the file", async () => {
    const file = join(folder, "pointer.safetensors");
    await writeFile(file, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    await expect(readHeader(file)).rejects.toThrow(/git lfs pull/);
  });

  test("a folder, a missing file and a path through a file", async () => {
    await expect(readHeader(folder)).rejects.toThrow(`${folder} is not a file`);
    await expect(readHeader(join(folder, "none"))).rejects.toThrow(/none does not exist/);
    await expect(readHeader(join(await writeRaw("{}"), "x"))).rejects.toThrow(/is a file, not a folder/);
    await expect(readHeader("a\0b")).rejects.toThrow(WeightsError);
  });

  test("deep nesting and long names without failing itself", async () => {
    const deep = "[".repeat(200_000) + "]".repeat(200_000);
    await expect(readHeader(await writeRaw(`{"a":${deep}}`))).rejects.toThrow(WeightsError);
    await expect(readHeader(await writeRaw(`{"a":{"dtype":${deep}}}`))).rejects.toThrow(WeightsError);
    const error = await readHeader(await writeRaw(`{"${"x".repeat(1e6)}":7}`)).catch((error) => error);
    expect(error.message.length).toBeLessThan(500);
  });
});

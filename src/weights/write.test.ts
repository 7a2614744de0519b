/** @file Tests of writing: round trips, and that a failure leaves nothing behind and nothing damaged. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { WeightsError } from "../errors.ts";
import { type StoredDType, storedBytes, storedDTypes } from "./dtype.ts";
import { readBytes, readTensor } from "./read.ts";
import { readHeader } from "./safetensors.ts";
import { openSafetensorsWriter, type TensorData, writeSafetensors } from "./write.ts";

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogvideox-write-"));
  file = join(folder, "out.safetensors");
});
afterEach(() => rm(folder, { recursive: true }));

const four: TensorData = { dtype: "F32", shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) };

describe("round trips", () => {
  test("bytes, shapes and metadata of every dtype", async () => {
    const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 });
    const tensor = fc.tuple(fc.constantFrom(...storedDTypes), shapes, fc.nat(255)).map(fill);
    const names = fc.string({ unit: "grapheme" }).filter((name) => name !== "__metadata__");
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(names, tensor),
        fc.dictionary(names, fc.string({ unit: "grapheme" })),
        async (tensors, metadata) => {
          await writeSafetensors(file, tensors, metadata);
          const header = await readHeader(file);
          expect(new Map(Object.entries(header.metadata))).toEqual(new Map(Object.entries(metadata)));
          expect([...header.tensors.keys()].sort()).toEqual(Object.keys(tensors).sort());
          for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
            const stored = header.tensors.get(name)!;
            expect(stored).toMatchObject({ dtype, shape });
            expect(await readBytes(stored)).toEqual(data);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test("typed arrays of each kind, also those that are a part of a larger buffer", async () => {
    const part = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
    await writeSafetensors(file, {
      part: { dtype: "F32", shape: [2], data: part },
      ids: { dtype: "I64", shape: [2], data: BigInt64Array.of(-1n, 2n ** 62n) },
      half: { dtype: "F16", shape: [1], data: Uint16Array.of(0x3c00) },
      flags: { dtype: "BOOL", shape: [1], data: Uint8Array.of(1) },
    });
    const { tensors } = await readHeader(file);
    expect(await readTensor(tensors.get("part")!)).toEqual(Float32Array.of(1, 2));
    expect(await readTensor(tensors.get("ids")!)).toEqual(BigInt64Array.of(-1n, 2n ** 62n));
    expect(await readTensor(tensors.get("half")!)).toEqual(Float32Array.of(1));
    expect(await readTensor(tensors.get("flags")!)).toEqual(Uint8Array.of(1));
  });

  test("aligned: the header is a multiple of 8 and every tensor begins at a multiple of its element", async () => {
    await writeSafetensors(file, {
      a: { dtype: "U8", shape: [3], data: new Uint8Array(3) },
      b: { dtype: "I64", shape: [1], data: new BigInt64Array(1) },
      c: { dtype: "BF16", shape: [5], data: new Uint16Array(5) },
      d: four,
    });
    const { tensors } = await readHeader(file);
    expect([...tensors.keys()]).toEqual(["b", "d", "c", "a"]);
    expect(tensors.get("b")!.offset % 8).toBe(0);
    expect(tensors.get("d")!.offset % 4).toBe(0);
    expect(tensors.get("c")!.offset % 2).toBe(0);
  });

  test("the same bytes whatever the order in which tensors are named", async () => {
    const other = { ...four, data: new Float32Array(4) };
    await writeSafetensors(file, { a: four, b: other });
    const first = await readFile(file);
    await writeSafetensors(file, { b: other, a: four });
    expect(await readFile(file)).toEqual(first);
  });
});

function fill([dtype, shape, byte]: [StoredDType, number[], number]): TensorData {
  const whole = storedBytes(dtype, shape) === undefined ? [...shape, 4] : shape;
  return { dtype, shape: whole, data: new Uint8Array(storedBytes(dtype, whole)!).fill(byte) };
}

describe("the stream", () => {
  const layout = [
    { name: "z", dtype: "U8", shape: [3] },
    { name: "1", dtype: "F32", shape: [2] },
    { name: "0", dtype: "F32", shape: [0] },
  ] as const;

  test("keeps the order of the layout and takes pieces of any length", async () => {
    const writer = await openSafetensorsWriter(file, layout, { format: "pt" });
    expect([...writer.tensors.keys()]).toEqual(["z", "1", "0"]);
    await writer.append(Uint8Array.of(1, 2, 3, 0, 0));
    expect(await readdir(folder)).not.toContain("out.safetensors");
    await writer.append(Uint8Array.of(0x80, 0x3f));
    await writer.append(Float32Array.of(-2));
    await writer.close();
    await writer.abort();
    const { tensors } = await readHeader(file);
    expect(tensors).toEqual(writer.tensors);
    expect(await readTensor(tensors.get("1")!)).toEqual(Float32Array.of(1, -2));
    expect(await readdir(folder)).toEqual(["out.safetensors"]);
  });

  test("refuses more data than its layout holds, and to close before all is there", async () => {
    const long = await openSafetensorsWriter(file, layout);
    await expect(long.append(new Uint8Array(12))).rejects.toThrow(
      /the data is 1 bytes longer than its layout/,
    );
    await expect(long.append(new Uint8Array(1))).rejects.toThrow(WeightsError);
    const short = await openSafetensorsWriter(file, layout);
    await short.append(new Uint8Array(5));
    await expect(short.close()).rejects.toThrow(/tensor "1" lacks 6 bytes/);
    await expect(short.close()).rejects.toThrow(WeightsError);
    expect(await readdir(folder)).toEqual([]);
  });

  test("leaves nothing behind when aborted, and keeps the file that was there", async () => {
    await writeFile(file, "before");
    const writer = await openSafetensorsWriter(file, layout);
    await writer.append(new Uint8Array(11));
    await writer.abort();
    await expect(writer.close()).rejects.toThrow(/was closed or has failed/);
    expect(await readdir(folder)).toEqual(["out.safetensors"]);
    expect(await readFile(file, "utf8")).toBe("before");
  });
});

describe("refuses", () => {
  const one = new Float32Array(1);
  test.each<[string, Record<string, TensorData>, RegExp]>([
    ["data that is too short", { a: { ...four, data: one } }, /"a" of dtype F32 .* takes 16 bytes, .* has 4/],
    [
      "floats where halves belong",
      { a: { dtype: "F16", shape: [1], data: one } },
      /F16 data .* is a Float32Array/,
    ],
    ["a DataView", { a: { ...four, data: new DataView(new ArrayBuffer(16)) } }, /is a DataView/],
    ["a negative dimension", { a: { ...four, shape: [-1] } }, /has shape \[-1\]/],
    ["an unknown dtype", { a: { ...four, dtype: "F31" as StoredDType } }, /has dtype "F31"; use one of BOOL/],
    ["half a byte", { a: { dtype: "F4", shape: [1], data: new Uint8Array(1) } }, /no whole number of bytes/],
    ["the reserved name", { __metadata__: four }, /no tensor can be called __metadata__/],
    ["half a character as name", { "\ud800": four }, /not valid Unicode/],
  ])("%s, and writes nothing", async (_, tensors, message) => {
    await writeFile(file, "before");
    const error = await writeSafetensors(file, tensors).catch((error) => error);
    expect(error).toBeInstanceOf(WeightsError);
    expect(error.message).toMatch(message);
    expect(error.message).toContain(file);
    expect(await readdir(folder)).toEqual(["out.safetensors"]);
    expect(await readFile(file, "utf8")).toBe("before");
  });

  test("metadata that is not text, and a layout that names a tensor twice", async () => {
    const metadata = { epoch: 3 } as unknown as Record<string, string>;
    await expect(writeSafetensors(file, {}, metadata)).rejects.toThrow(/metadata holds 3 under "epoch"/);
    const layout = [{ name: "a", dtype: "U8", shape: [1] }] as const;
    await expect(openSafetensorsWriter(file, [...layout, ...layout])).rejects.toThrow(
      /names tensor "a" twice/,
    );
  });

  test("a folder that is missing or is a file, and a target that is a folder", async () => {
    const missing = join(folder, "none", "x.safetensors");
    await expect(writeSafetensors(missing, { four })).rejects.toThrow(
      `${join(folder, "none")} does not exist`,
    );
    await writeFile(join(folder, "plain"), "");
    await expect(writeSafetensors(join(folder, "plain", "x"), { four })).rejects.toThrow(
      /plain is not a folder/,
    );
    await mkdir(file);
    await expect(writeSafetensors(file, { four })).rejects.toThrow(/out.safetensors is a folder/);
    expect((await readdir(folder)).sort()).toEqual(["out.safetensors", "plain"]);
  });
});

const isRoot = process.getuid?.() === 0;

test.skipIf(isRoot || process.platform === "win32")(
  "says who may write to a protected folder (not as root)",
  async () => {
    chmodSync(folder, 0o500);
    await expect(writeSafetensors(file, { four })).rejects.toThrow(/no permission for/);
    chmodSync(folder, 0o700);
  },
);

// A file system of 64 KiB, real and soon full; only root may mount one.
const tiny = mkdtempSync(join(tmpdir(), "cogvideox-tiny-"));
mkdirSync(join(tiny, "disk"));
const disk = join(tiny, "disk");
const mounted = isRoot && spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).status === 0;
afterAll(() => {
  if (mounted) spawnSync("umount", [disk]);
  rmSync(tiny, { recursive: true });
});

describe.skipIf(!mounted)("on a small disk (needs the right to mount)", () => {
  const target = join(disk, "out.safetensors");
  const large: TensorData = { dtype: "U8", shape: [200_000], data: new Uint8Array(200_000) };

  test("says that it is full, and keeps the file that was there", async () => {
    await writeSafetensors(target, { four });
    const before = await readFile(target);
    await expect(writeSafetensors(target, { large })).rejects.toThrow(
      /the disk that holds .* is full; free space/,
    );
    expect(await readdir(disk)).toEqual(["out.safetensors"]);
    expect(await readFile(target)).toEqual(before);
  });

  test("says that it is read-only", async () => {
    await writeSafetensors(target, { four });
    spawnSync("mount", ["-o", "remount,ro", disk]);
    await expect(writeSafetensors(target, { four })).rejects.toThrow(/lies on a read-only file system/);
    spawnSync("mount", ["-o", "remount,rw", disk]);
    expect((await stat(target)).size).toBeGreaterThan(0);
  });
});

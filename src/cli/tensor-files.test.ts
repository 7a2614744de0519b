/** @file Tensors through files, as the command line takes and gives them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { counting, numbers } from "../../test/helpers/host-tensor.ts";
import { ConfigError } from "../errors.ts";
import { floatsToBf16, floatsToF16 } from "../weights/cast.ts";
import { writeSafetensors } from "../weights/write.ts";
import { FramesFile, readLatents, readTensors, requireWritable, writeLatents } from "./tensor-files.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-tensors-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, `${name}.safetensors`);
const values = Float32Array.of(0.5, -1, 2);

describe("inputs", () => {
  test("of every float type become float32, of every integer type int32", async () => {
    await writeSafetensors(at("kinds"), {
      f32: { dtype: "F32", shape: [3], data: values },
      f64: { dtype: "F64", shape: [3], data: Float64Array.from(values) },
      f16: { dtype: "F16", shape: [3], data: floatsToF16(values) },
      bf16: { dtype: "BF16", shape: [3], data: floatsToBf16(values) },
      i64: { dtype: "I64", shape: [1, 2], data: BigInt64Array.of(-5n, 6n) },
      u8: { dtype: "U8", shape: [2], data: Uint8Array.of(0, 255) },
    });
    const read = await readTensors(at("kinds"));
    for (const name of ["f32", "f64", "f16", "bf16"])
      expect(read.get(name)).toEqual({ dtype: "f32", shape: [3], data: values });
    expect(read.get("i64")).toEqual({ dtype: "i32", shape: [1, 2], data: Int32Array.of(-5, 6) });
    expect(read.get("u8")).toEqual({ dtype: "i32", shape: [2], data: Int32Array.of(0, 255) });
  });

  test("of another type are refused by name", async () => {
    await writeSafetensors(at("bool"), { mask: { dtype: "BOOL", shape: [1], data: Uint8Array.of(1) } });
    const read = readTensors(at("bool"));
    await expect(read).rejects.toThrow(ConfigError);
    await expect(read).rejects.toThrow("tensor mask");
  });
});

test("integers beyond int32 are refused by value", async () => {
  await writeSafetensors(at("wide"), {
    ids: { dtype: "I64", shape: [2], data: BigInt64Array.of(1n, 2n ** 31n) },
  });
  const read = readTensors(at("wide"));
  await expect(read).rejects.toThrow(ConfigError);
  await expect(read).rejects.toThrow(
    /^tensor ids in .*wide\.safetensors holds 2147483648; integers from -2147483648 to 2147483647 can be read$/,
  );
});

describe("latents", () => {
  test("come back as they were written", async () => {
    const latents = counting([1, 2, 3, 2, 2]);
    await writeLatents(at("latents"), latents);
    expect(await readLatents(at("latents"))).toEqual(latents);
  });

  test("without a batch axis get one", async () => {
    await writeSafetensors(at("flat"), { latents: { dtype: "F32", shape: [1, 1, 1, 3], data: values } });
    expect((await readLatents(at("flat"))).shape).toEqual([1, 1, 1, 1, 3]);
  });

  test("that are not in the file are refused with a way to get some", async () => {
    await writeSafetensors(at("other"), { x: { dtype: "F32", shape: [3], data: values } });
    await expect(readLatents(at("other"))).rejects.toThrow(
      "holds no tensor named latents; --save-latents writes one",
    );
  });

  test("that are integers are refused", async () => {
    await writeSafetensors(at("bytes"), { latents: { dtype: "U8", shape: [3], data: new Uint8Array(3) } });
    await expect(readLatents(at("bytes"))).rejects.toThrow(
      /latents in .*bytes\.safetensors are integers; floats are needed/,
    );
  });
});

describe("frames", () => {
  test("are written as they come", async () => {
    const file = await FramesFile.create(at("frames"), [2, 1, 1, 3]);
    await file.append(values);
    await file.append(values);
    await file.close();
    const frames = (await readTensors(at("frames"))).get("frames")!;
    expect(frames.shape).toEqual([2, 1, 1, 3]);
    expect(numbers(frames)).toEqual([...values, ...values]);
  });

  test("leave nothing when they are given up", async () => {
    const file = await FramesFile.create(at("given-up"), [2, 1, 1, 3]);
    await file.append(values);
    await file.abort();
    await expect(readTensors(at("given-up"))).rejects.toThrow("does not exist");
  });
});

test("a file can be written where its folder is there and nothing but a file has its name", async () => {
  await expect(requireWritable(at("new"))).resolves.toBeUndefined();
  await expect(requireWritable(join(folder, "nowhere/x.json"))).rejects.toThrow(/nowhere is missing or not/);
  await expect(requireWritable(folder)).rejects.toThrow(`cannot write ${folder}: it is a folder`);
});

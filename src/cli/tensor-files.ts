/** @file Tensors that the command line reads from and writes to safetensors files. */
import { access, constants, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { ConfigError } from "../errors.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { StoredDType } from "../weights/dtype.ts";
import { readFloats, readTensor } from "../weights/read.ts";
import { readHeader, type StoredTensor } from "../weights/safetensors.ts";
import { openSafetensorsWriter, type SafetensorsWriter, writeSafetensors } from "../weights/write.ts";

const floatKinds: readonly StoredDType[] = ["F64", "F32", "F16", "BF16"];
const integerKinds: readonly StoredDType[] = ["I64", "I32", "I16", "I8", "U8"];

/**
 * Reads every tensor of a file that the engine can be fed: floats widened or narrowed to float32, integers to int32.
 * @throws WeightsError for a bad file, ConfigError for types that are neither and for
 *   integers that int32 cannot hold
 */
export async function readTensors(file: string): Promise<Map<string, HostTensor>> {
  const { tensors } = await readHeader(file);
  const read = new Map<string, HostTensor>();
  for (const [name, stored] of tensors) read.set(name, await readHostTensor(stored));
  return read;
}

async function readHostTensor(stored: StoredTensor): Promise<HostTensor> {
  const { name, dtype, shape, file } = stored;
  if (floatKinds.includes(dtype)) return { dtype: "f32", shape, data: await readFloats(stored) };
  if (!integerKinds.includes(dtype))
    throw new ConfigError(`tensor ${name} in ${file} has type ${dtype}; floats and integers can be read`);
  const values = (await readTensor(stored)) as ArrayLike<number | bigint>;
  const data = Int32Array.from(values, Number);
  const lost = data.findIndex((value, i) => value !== Number(values[i]));
  if (lost >= 0)
    throw new ConfigError(
      `tensor ${name} in ${file} holds ${values[lost]}; integers from -2147483648 to 2147483647 can be read`,
    );
  return { dtype: "i32", shape, data };
}

/** The tensor `latents` of a file, with a batch axis added where there is none. */
export async function readLatents(file: string): Promise<HostTensor> {
  const latents = (await readTensors(file)).get("latents");
  if (latents === undefined)
    throw new ConfigError(`${file} holds no tensor named latents; --save-latents writes one`);
  if (latents.dtype !== "f32")
    throw new ConfigError(`the latents in ${file} are integers; floats are needed, as --save-latents writes`);
  return latents.shape.length === 4 ? { ...latents, shape: [1, ...latents.shape] } : latents;
}

/** @throws ConfigError unless a file of this name can be made */
export async function requireWritable(file: string): Promise<void> {
  const folder = dirname(resolve(file));
  await access(folder, constants.W_OK).catch((cause) => {
    throw new ConfigError(`cannot write ${file}: the folder ${folder} is missing or not writable`, { cause });
  });
  const found = await stat(file).catch(() => null);
  if (found?.isDirectory()) throw new ConfigError(`cannot write ${file}: it is a folder; name a file in it`);
}

/** Writes latents `[B, F, C, h, w]` under the name `latents`. */
export async function writeLatents(file: string, { shape, data }: HostTensor): Promise<void> {
  await writeSafetensors(file, { latents: { dtype: "F32", shape, data: data as Float32Array } });
}

/** Frames `[F, H, W, 3]` written to a file as they come. */
export class FramesFile {
  private readonly writer: SafetensorsWriter;

  private constructor(writer: SafetensorsWriter) {
    this.writer = writer;
  }

  static async create(file: string, shape: readonly number[]): Promise<FramesFile> {
    const writer = await openSafetensorsWriter(file, [{ name: "frames", dtype: "F32", shape }]);
    return new FramesFile(writer);
  }

  async append(values: Float32Array): Promise<void> {
    await this.writer.append(values);
  }

  async close(): Promise<void> {
    await this.writer.close();
  }

  async abort(): Promise<void> {
    await this.writer.abort();
  }
}

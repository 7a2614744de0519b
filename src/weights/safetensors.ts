/** @file Reads the header of a .safetensors file and refuses every file that breaks the format. */
import type { FileHandle } from "node:fs/promises";
import { WeightsError } from "../errors.ts";
import { isStoredDType, type StoredDType, storedBytes, storedDTypes } from "./dtype.ts";
import { readExactly, show, withFile } from "./file.ts";
import { isRecord, parseJson } from "./json.ts";

/** Where one tensor lies on disk. The data is little-endian, row-major and not necessarily aligned. */
export type StoredTensor = {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Path of the file that holds the data, as it was given (links not followed). */
  readonly file: string;
  /** Absolute byte offset in `file`. */
  readonly offset: number;
  readonly byteLength: number;
};

/** The header of one file: its tensors in the order of their data, and the free text stored with them. */
export type SafetensorsFile = {
  readonly file: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
};

/** The format's own limit for the JSON header, in bytes. */
export const maxHeaderBytes = 100_000_000;

/** The header key that holds free text and therefore cannot name a tensor. */
export const metadataKey = "__metadata__";

/** The part of a file behind the header, in bytes. */
type DataRegion = { readonly file: string; readonly start: number; readonly length: number };

/**
 * Reads and checks the header; no tensor data is read.
 *
 * The layout is 8 bytes of little-endian length N, N bytes of JSON, then the data without holes
 * (https://github.com/huggingface/safetensors, README "Format").
 *
 * @throws {WeightsError} when the file cannot be read or breaks the format in any way.
 */
export async function readHeader(file: string): Promise<SafetensorsFile> {
  return withFile(file, async (handle, size) => {
    const headerBytes = await readHeaderLength(handle, file, size);
    const bytes = new Uint8Array(headerBytes);
    await readExactly(handle, file, bytes, 8);
    const header = parseHeader(file, bytes);
    const region = { file, start: 8 + headerBytes, length: size - 8 - headerBytes };
    const metadata = parseMetadata(file, header[metadataKey]);
    const tensors = Object.entries(header)
      .filter(([name]) => name !== metadataKey)
      .map(([name, entry]) => parseTensor(region, name, entry));
    return { file, metadata, tensors: inDataOrder(region, tensors) };
  });
}

function broken(file: string, what: string, remedy = "fetch or write the file again"): WeightsError {
  return new WeightsError(`${file} is not a valid safetensors file: ${what}; ${remedy}`);
}

async function readHeaderLength(handle: FileHandle, file: string, size: number): Promise<number> {
  if (size < 8) throw broken(file, `it has ${size} bytes, and the length of the header alone takes 8`);
  const bytes = new Uint8Array(8);
  await readExactly(handle, file, bytes, 0);
  if (new TextDecoder().decode(bytes) === "version ")
    throw broken(file, "it looks like a Git LFS pointer", "run `git lfs pull` in its repository");
  const length = new DataView(bytes.buffer).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes))
    throw broken(file, `its header claims ${length} bytes, and the format allows ${maxHeaderBytes}`);
  if (length > BigInt(size - 8))
    throw broken(file, `its header claims ${length} bytes, but only ${size - 8} follow the length`);
  return Number(length);
}

function parseHeader(file: string, bytes: Uint8Array): Record<string, unknown> {
  const parsed = parseJson(bytes);
  if ("problem" in parsed) throw broken(file, `its header ${parsed.problem}`);
  if (!isRecord(parsed.value)) throw broken(file, `its header must be an object, got ${show(parsed.value)}`);
  if (bytes[0] !== 0x7b) throw broken(file, "its header must begin with {, without space before it");
  return parsed.value;
}

function parseMetadata(file: string, metadata: unknown): Readonly<Record<string, string>> {
  if (metadata === undefined) return {};
  if (!isRecord(metadata)) throw broken(file, `${metadataKey} must be an object, got ${show(metadata)}`);
  for (const [key, value] of Object.entries(metadata))
    if (typeof value !== "string")
      throw broken(
        file,
        `${metadataKey} holds ${show(value)} under ${show(key)}, where only text is allowed`,
      );
  // Every value was just seen to be a string.
  return metadata as Record<string, string>;
}

function parseTensor(region: DataRegion, name: string, entry: unknown): StoredTensor {
  const wrong = (what: string) => broken(region.file, `tensor ${show(name)} ${what}`);
  if (!isRecord(entry)) throw wrong(`must be described by an object, got ${show(entry)}`);
  const { dtype, shape, data_offsets: range } = entry;
  if (!isStoredDType(dtype))
    throw wrong(`has dtype ${show(dtype)}, and the format knows ${storedDTypes.join(", ")}`);
  if (!isListOfCounts(shape))
    throw wrong(`has shape ${show(shape)}, which must be a list of non-negative integers`);
  if (!isListOfCounts(range) || range.length !== 2)
    throw wrong(`has data_offsets ${show(range)}, which must be two non-negative integers`);
  const [begin, end] = range;
  if (begin > end) throw wrong(`has data_offsets ${show(range)}, whose begin is behind the end`);
  if (end > region.length)
    throw wrong(`ends at byte ${end} of the data, but the file holds ${region.length} bytes of data`);
  const needed = storedBytes(dtype, shape);
  if (needed !== end - begin)
    throw wrong(
      `of dtype ${dtype} and shape ${show(shape)} takes ${needed ?? "no whole or no countable number of"} bytes, ` +
        `but its data_offsets span ${end - begin}`,
    );
  return { name, dtype, shape, file: region.file, offset: region.start + begin, byteLength: needed };
}

function isListOfCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

/** Sorts the tensors by offset and makes sure that they cover the data region exactly once. */
function inDataOrder(region: DataRegion, tensors: StoredTensor[]): Map<string, StoredTensor> {
  tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  let end = region.start;
  let before = "the header";
  for (const { name, offset, byteLength } of tensors) {
    if (offset < end)
      throw broken(region.file, `tensor ${show(name)} overlaps ${before} by ${end - offset} bytes`);
    if (offset > end)
      throw broken(
        region.file,
        `${offset - end} bytes between ${before} and tensor ${show(name)} are unused`,
      );
    end = offset + byteLength;
    before = `tensor ${show(name)}`;
  }
  const rest = region.start + region.length - end;
  if (rest > 0) throw broken(region.file, `${rest} bytes behind ${before} belong to no tensor`);
  return new Map(tensors.map((tensor) => [tensor.name, tensor]));
}

/** @file Reads the directory of a zip archive whose entries are stored as they are, without compression. */
import type { FileHandle } from "node:fs/promises";
import { WeightsError } from "../errors.ts";
import { readExactly, show } from "./file.ts";

/** Where the data of one entry lies. */
export type ZipEntry = { readonly name: string; readonly offset: number; readonly byteLength: number };

const signatures = {
  entry: 0x04034b50,
  directory: 0x02014b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator: 0x07064b50,
};
const endBytes = 22;
const locatorBytes = 20;
const end64Bytes = 56;
const entryBytes = 30;
const recordBytes = 46;
const maxCommentBytes = 0xffff;

/** A directory of more bytes than this lists millions of entries and is damaged. */
const maxDirectoryBytes = 2 ** 28;

/**
 * The entries by name. Layout: PKWARE APPNOTE 6.3, sections 4.3 and 4.5.3; large archives have their sizes in zip64
 * records.
 * @throws {WeightsError} when the file is no such archive, or an entry is compressed or encrypted
 */
export async function readZipDirectory(
  handle: FileHandle,
  file: string,
  size: number,
): Promise<ReadonlyMap<string, ZipEntry>> {
  const { offset, byteLength } = await findDirectory(handle, file, size);
  if (byteLength > maxDirectoryBytes || offset + byteLength > size)
    throw broken(file, `its directory of ${byteLength} bytes at ${offset} does not fit into the file`);
  const directory = await readView(handle, file, offset, byteLength);
  const entries = new Map<string, ZipEntry>();
  for (let at = 0; at < byteLength; ) {
    const record = parseRecord(file, directory, at);
    at = record.end;
    if (entries.has(record.name)) throw broken(file, `it holds ${show(record.name)} twice`);
    entries.set(record.name, await locate(handle, file, size, record));
  }
  return entries;
}

/** Whether a file begins as a zip archive does. */
export function looksLikeZip(first: Uint8Array): boolean {
  return first[0] === 0x50 && first[1] === 0x4b && first[2] === 3 && first[3] === 4;
}

function broken(file: string, what: string): WeightsError {
  return new WeightsError(`${file} is not a PyTorch file that can be read: ${what}; fetch or save it again`);
}

async function readView(handle: FileHandle, file: string, offset: number, length: number): Promise<DataView> {
  const bytes = new Uint8Array(length);
  await readExactly(handle, file, bytes, offset);
  return new DataView(bytes.buffer);
}

async function findDirectory(handle: FileHandle, file: string, size: number) {
  const length = Math.min(size, endBytes + maxCommentBytes);
  const tail = await readView(handle, file, size - length, length);
  for (let at = length - endBytes; at >= 0; at--) {
    const closes = at + endBytes + tail.getUint16(at + 20, true) === length;
    if (tail.getUint32(at, true) !== signatures.end || !closes) continue;
    const byteLength = tail.getUint32(at + 12, true);
    const offset = tail.getUint32(at + 16, true);
    const isLarge =
      byteLength === 0xffffffff || offset === 0xffffffff || tail.getUint16(at + 10, true) === 0xffff;
    return isLarge ? findDirectory64(handle, file, size, size - length + at) : { offset, byteLength };
  }
  throw broken(file, "it has no directory at its end; was it cut short?");
}

async function findDirectory64(handle: FileHandle, file: string, size: number, end: number) {
  if (end < locatorBytes) throw broken(file, "its zip64 locator is missing");
  const locator = await readView(handle, file, end - locatorBytes, locatorBytes);
  if (locator.getUint32(0, true) !== signatures.locator) throw broken(file, "its zip64 locator is missing");
  const at = countAt(file, locator, 8);
  if (at + end64Bytes > size) throw broken(file, "its zip64 locator leads out of the file");
  const record = await readView(handle, file, at, end64Bytes);
  if (record.getUint32(0, true) !== signatures.end64) throw broken(file, "its zip64 locator leads nowhere");
  return { byteLength: countAt(file, record, 40), offset: countAt(file, record, 48) };
}

/** A 64-bit count that JavaScript can hold. */
function countAt(file: string, view: DataView, at: number): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw broken(file, `it claims a size of ${value} bytes`);
  return Number(value);
}

type Record = {
  readonly name: string;
  readonly header: number;
  readonly byteLength: number;
  readonly end: number;
};

function parseRecord(file: string, view: DataView, at: number): Record {
  const cutShort = () => broken(file, "its directory ends in the middle of an entry");
  if (at + recordBytes > view.byteLength) throw cutShort();
  if (view.getUint32(at, true) !== signatures.directory) throw broken(file, "its directory is damaged");
  const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) =>
    view.getUint16(at + field, true),
  );
  const extraAt = at + recordBytes + nameLength;
  const end = extraAt + extraLength + commentLength;
  if (end > view.byteLength) throw cutShort();
  const name = new TextDecoder().decode(new Uint8Array(view.buffer, at + recordBytes, nameLength));
  if (view.getUint16(at + 8, true) & 1) throw broken(file, `its entry ${show(name)} is encrypted`);
  if (view.getUint16(at + 10, true) !== 0) throw broken(file, `its entry ${show(name)} is compressed`);
  const narrow = [24, 20, 42].map((field) => view.getUint32(at + field, true));
  const [byteLength, stored, header] = widen(file, view, narrow, extraAt, extraLength);
  if (byteLength !== stored)
    throw broken(file, `its entry ${show(name)} has two sizes, ${byteLength} and ${stored}`);
  return { name, header, byteLength, end };
}

/** The size, the stored size and the offset of an entry; those that do not fit 32 bits stand in a zip64 field. */
function widen(
  file: string,
  view: DataView,
  narrow: readonly number[],
  extraAt: number,
  extraLength: number,
): number[] {
  if (!narrow.includes(0xffffffff)) return [...narrow];
  for (let at = extraAt; at + 4 <= extraAt + extraLength; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    const last = Math.min(extraAt + extraLength, at + 4 + view.getUint16(at + 2, true));
    let next = at + 4;
    return narrow.map((value) => {
      if (value !== 0xffffffff) return value;
      if (next + 8 > last) throw broken(file, "a zip64 field of its directory is too short");
      next += 8;
      return countAt(file, view, next - 8);
    });
  }
  throw broken(file, "a zip64 field of its directory is missing");
}

async function locate(handle: FileHandle, file: string, size: number, record: Record): Promise<ZipEntry> {
  const { name, header, byteLength } = record;
  if (header + entryBytes > size) throw broken(file, `its entry ${show(name)} lies behind its end`);
  const view = await readView(handle, file, header, entryBytes);
  if (view.getUint32(0, true) !== signatures.entry)
    throw broken(file, `its entry ${show(name)} is not where it should be`);
  const offset = header + entryBytes + view.getUint16(26, true) + view.getUint16(28, true);
  if (offset + byteLength > size) throw broken(file, `its entry ${show(name)} is longer than the file`);
  return { name, offset, byteLength };
}

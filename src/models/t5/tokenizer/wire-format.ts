/** @file Reads the protobuf wire format: a list of numbered fields (protobuf.dev, "Encoding"). */
import { WeightsError } from "../../../errors.ts";

/** One field as it stands in the file; `number` is set for varints, `bytes` for everything else. */
export type Field = { id: number; wire: WireType; number: number; bytes: Uint8Array };

type WireType = "varint" | "fixed64" | "bytes" | "fixed32";

const wireTypes: readonly (WireType | undefined)[] = [
  "varint",
  "fixed64",
  "bytes",
  undefined,
  undefined,
  "fixed32",
];

const noBytes = new Uint8Array(0);

/**
 * The fields of `message` in file order. Varints keep their low 32 bits, which is exact for the bool, enum
 * and int32 fields of SentencePiece. Throws WeightsError, which names `source`, when this is no message.
 */
export function* readFields(message: Uint8Array, source: string): Generator<Field> {
  const cursor = { at: 0 };
  while (cursor.at < message.length) {
    const tag = readVarint(message, cursor, source);
    const id = tag >>> 3;
    const wire = wireTypes[tag & 7];
    if (id === 0 || wire === undefined)
      throw broken(source, `field ${id} has wire type ${tag & 7}, which protobuf does not use here`);
    const number = wire === "varint" ? readVarint(message, cursor, source) : 0;
    const bytes = wire === "varint" ? noBytes : readBytes(message, cursor, wire, source);
    yield { id, wire, number, bytes };
  }
}

/** The value of a float field, one IEEE single. */
export function toFloat({ bytes }: Field): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat32(0, true);
}

/** A sentence for a file that is not the protobuf message it should be. */
export function broken(source: string, detail: string): WeightsError {
  return new WeightsError(`${source} is not a SentencePiece model: ${detail}; is the file complete?`);
}

function readVarint(message: Uint8Array, cursor: { at: number }, source: string): number {
  let value = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    if (cursor.at >= message.length) throw broken(source, `it ends inside a number at byte ${cursor.at}`);
    const byte = message[cursor.at++];
    if (shift < 32) value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  throw broken(source, `the number before byte ${cursor.at} is longer than 10 bytes`);
}

function readBytes(message: Uint8Array, cursor: { at: number }, wire: WireType, source: string): Uint8Array {
  const fixed = wire === "fixed32" ? 4 : 8;
  const length = wire === "bytes" ? readVarint(message, cursor, source) >>> 0 : fixed;
  const end = cursor.at + length;
  if (end > message.length)
    throw broken(source, `it ends at byte ${message.length}, inside a field that runs to byte ${end}`);
  const bytes = message.subarray(cursor.at, end);
  cursor.at = end;
  return bytes;
}

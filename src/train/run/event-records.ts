/** @file TensorBoard's bytes: events as protobuf messages, in records with checksums as TFRecord files have them. */
import { Message } from "../../graph/protobuf.ts";

/** What happens in an event file at one moment. */
export type Event =
  | { readonly kind: "version" }
  | { readonly kind: "start" }
  | { readonly kind: "scalars"; readonly values: Readonly<Record<string, number>> }
  | { readonly kind: "image"; readonly tag: string; readonly png: Uint8Array }
  | { readonly kind: "text"; readonly tag: string; readonly markdown: string };

/**
 * Fields of the message tensorboard.Event beside wall_time (1) and step (2), by their numbers in event.proto and
 * summary.proto of https://github.com/tensorflow/tensorboard.
 */
const contents: { readonly [K in Event["kind"]]: (event: Extract<Event, { kind: K }>) => Message } = {
  version: () => new Message().string(3, "brain.Event:2"),
  // SessionLog.START: a reader forgets what other files said about this step and later ones.
  start: () => new Message().message(7, new Message().int(1, 1)),
  scalars: ({ values }) =>
    summary(Object.entries(values).map(([tag, value]) => new Message().string(1, tag).float(2, value))),
  image: ({ tag, png }) => summary([new Message().string(1, tag).message(4, image(png))]),
  text: ({ tag, markdown }) =>
    summary([new Message().string(1, tag).message(8, stringTensor(markdown)).message(9, textMetadata())]),
};

/** An event as it lies in a file. `seconds` since 1970, `step` from 0. */
export function eventRecord(event: Event, step: number, seconds: number): Uint8Array {
  // The table's key is the event's own kind.
  const content = (contents[event.kind] as (event: Event) => Message)(event);
  // Zeros are left out, as protobuf 3 has it.
  const rest = (step === 0 ? new Message() : new Message().int(2, step)).append(content).finish();
  const bytes = new Uint8Array(9 + rest.length);
  bytes[0] = (1 << 3) | 1;
  new DataView(bytes.buffer).setFloat64(1, seconds, true);
  bytes.set(rest, 9);
  return record(bytes);
}

function summary(values: readonly Message[]): Message {
  const all = values.reduce((sum, value) => sum.message(1, value), new Message());
  return new Message().message(5, all);
}

/** Summary.Image: height, width, channels, the file. */
function image(png: Uint8Array): Message {
  const { width, height, channels } = pngSize(png);
  return new Message().int(1, height).int(2, width).int(3, channels).bytes(4, png);
}

/** A TensorProto of shape [] and dtype DT_STRING. */
function stringTensor(text: string): Message {
  return new Message().int(1, 7).message(2, new Message()).string(8, text);
}

/** SummaryMetadata: the plug-in that shows it, and DATA_CLASS_TENSOR. */
function textMetadata(): Message {
  return new Message().message(1, new Message().string(1, "text")).int(4, 2);
}

/** From the header that every PNG begins with (PNG specification, section 11.2.2). */
function pngSize(png: Uint8Array): { width: number; height: number; channels: number } {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const channels = [1, 0, 3, 3, 2, 0, 4][view.getUint8(25)] ?? 3;
  return { width: view.getUint32(16), height: view.getUint32(20), channels };
}

/** Length, its checksum, the bytes, their checksum (TensorFlow, core/lib/io/record_writer.h). */
function record(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(8 + 4 + bytes.length + 4);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(bytes.length), true);
  view.setUint32(8, masked(crc32c(out.subarray(0, 8))), true);
  out.set(bytes, 12);
  view.setUint32(12 + bytes.length, masked(crc32c(bytes)), true);
  return out;
}

/** So that a checksum of data that holds checksums is no trivial one: rotated right by 15 bits, plus a constant. */
function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** The Castagnoli polynomial, bits reversed. */
const POLYNOMIAL = 0x82f63b78;

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** CRC-32C (RFC 3720, appendix B.4). */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

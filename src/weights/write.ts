/** @file Writes .safetensors files: whole or not at all, in one call or as a stream. */
import { Draft, unwritable } from "./draft.ts";
import { isStoredDType, type StoredDType, storedBits, storedBytes, storedDTypes } from "./dtype.ts";
import { show } from "./file.ts";
import { maxHeaderBytes, metadataKey, type StoredTensor } from "./safetensors.ts";

/** A tensor to be written, without its data. */
export type TensorLayout = {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
};

/**
 * A tensor to be written. `data` is row-major: the array kind that belongs to `dtype` (bit patterns in a Uint16Array
 * for F16 and BF16), or the little-endian bytes as a Uint8Array.
 */
export type TensorData = {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly data: ArrayBufferView;
};

/** Takes the data of a file whose layout is fixed, in order. Await every call before the next. */
export interface SafetensorsWriter {
  /** Where each tensor will lie, in the order in which its data is due. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /**
   * Adds the next bytes of the data; pieces need not end where tensors end. A failure discards the file.
   * @throws {WeightsError} when it is more than the layout has room for, and when the system refuses.
   */
  append(data: ArrayBufferView): Promise<void>;
  /**
   * Flushes the file to disk and puts it in its place.
   * @throws {WeightsError} when data is missing, and when the system refuses. The file is then discarded.
   */
  close(): Promise<void>;
  /** Discards everything; a file that stood in the place stays. Does nothing after `close`. */
  abort(): Promise<void>;
}

type Metadata = Readonly<Record<string, string>>;

/** The array kinds that hold the elements of a dtype, besides raw bytes in a Uint8Array. */
const arrayKinds: Partial<Record<StoredDType, readonly string[]>> = {
  F64: ["Float64Array"],
  F32: ["Float32Array"],
  F16: ["Uint16Array", "Float16Array"],
  BF16: ["Uint16Array"],
  I64: ["BigInt64Array"],
  U64: ["BigUint64Array"],
  I32: ["Int32Array"],
  U32: ["Uint32Array"],
  I16: ["Int16Array"],
  U16: ["Uint16Array"],
  I8: ["Int8Array"],
  C64: ["Float32Array"],
};

/**
 * Writes the tensors to `file`, replacing what stood there only when everything is safely on disk. The data of wider
 * dtypes comes first, so that all of it is aligned; among equals the order is that of the names. A symbolic link at
 * `file` is replaced, not followed.
 *
 * @throws {WeightsError} when a tensor's data does not fit its dtype and shape, and when the system refuses: folder
 *   missing or not writable, disk full. A file that stood in the place is then untouched.
 */
export async function writeSafetensors(
  file: string,
  tensors: Readonly<Record<string, TensorData>>,
  metadata: Metadata = {},
): Promise<void> {
  const ordered = Object.entries(tensors)
    .map(([name, tensor]) => ({ ...tensor, name }))
    .sort((a, b) => storedBits(b.dtype) - storedBits(a.dtype) || (a.name < b.name ? -1 : 1));
  for (const tensor of ordered) checkData(file, tensor);
  const writer = await openSafetensorsWriter(file, ordered, metadata);
  for (const { data } of ordered) await writer.append(data);
  await writer.close();
}

/**
 * Opens a file for writing whose tensors are known but whose data comes piece by piece, in the order of `layout`.
 * Nothing appears under the name `file` before `close`.
 *
 * @throws {WeightsError} when the layout breaks the format, and when the system refuses.
 */
export async function openSafetensorsWriter(
  file: string,
  layout: readonly TensorLayout[],
  metadata: Metadata = {},
): Promise<SafetensorsWriter> {
  const { header, tensors } = planFile(file, layout, metadata);
  const draft = await Draft.open(file);
  await draft.append(header);
  return new LayoutWriter(draft, file, header.byteLength, tensors);
}

class LayoutWriter implements SafetensorsWriter {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly #draft: Draft;
  readonly #file: string;
  readonly #end: number;
  #position: number;

  constructor(draft: Draft, file: string, start: number, tensors: ReadonlyMap<string, StoredTensor>) {
    this.tensors = tensors;
    this.#draft = draft;
    this.#file = file;
    this.#position = start;
    this.#end = [...tensors.values()].reduce((end, tensor) => end + tensor.byteLength, start);
  }

  async append(data: ArrayBufferView): Promise<void> {
    this.#position += data.byteLength;
    if (this.#position > this.#end) {
      await this.abort();
      throw unwritable(this.#file, `the data is ${this.#position - this.#end} bytes longer than its layout`);
    }
    await this.#draft.append(data);
  }

  async close(): Promise<void> {
    if (this.#position < this.#end) {
      await this.abort();
      const ends = (tensor: StoredTensor) => tensor.offset + tensor.byteLength;
      const due = [...this.tensors.values()].find((tensor) => ends(tensor) > this.#position)!;
      const missing = ends(due) - Math.max(this.#position, due.offset);
      throw unwritable(
        this.#file,
        `tensor ${show(due.name)} lacks ${missing} bytes; append them before closing`,
      );
    }
    await this.#draft.publish();
  }

  abort(): Promise<void> {
    return this.#draft.discard();
  }
}

function planFile(file: string, layout: readonly TensorLayout[], metadata: Metadata) {
  checkMetadata(file, metadata);
  // Without a prototype, so that a tensor may even be called __proto__.
  const header: Record<string, unknown> = Object.create(null);
  if (Object.keys(metadata).length > 0) header[metadataKey] = metadata;
  let begin = 0;
  const planned = layout.map((tensor) => {
    const byteLength = checkLayout(file, tensor);
    const { name, dtype, shape } = tensor;
    if (name in header) throw unwritable(file, `the layout names tensor ${show(name)} twice; name it once`);
    const end = begin + byteLength;
    header[name] = { dtype, shape, data_offsets: [begin, end] };
    const placed = { name, dtype, shape, file, offset: begin, byteLength };
    begin = end;
    return placed;
  });
  const bytes = encodeHeader(file, header);
  const tensors = planned.map((tensor) => ({ ...tensor, offset: tensor.offset + bytes.byteLength }));
  return { header: bytes, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}

/** The length and the JSON, padded with spaces so that the data begins at a multiple of 8. */
function encodeHeader(file: string, header: Record<string, unknown>): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const length = Math.ceil(json.byteLength / 8) * 8;
  if (length > maxHeaderBytes)
    throw unwritable(file, `its header takes ${length} bytes, and the format allows ${maxHeaderBytes}`);
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, 8);
  return bytes;
}

function checkMetadata(file: string, metadata: Metadata): void {
  for (const [key, value] of Object.entries(metadata))
    if (typeof value !== "string")
      throw unwritable(
        file,
        `the metadata holds ${show(value)} under ${show(key)}, where only text is allowed`,
      );
}

/** The bytes of the tensor; throws where the format has no place for it. */
function checkLayout(file: string, { name, dtype, shape }: TensorLayout): number {
  if (name === metadataKey)
    throw unwritable(file, `no tensor can be called ${name}; the format keeps that name`);
  if (/\p{Surrogate}/u.test(name))
    throw unwritable(file, `the tensor name ${show(name)} is not valid Unicode; rename it`);
  if (!isStoredDType(dtype))
    throw unwritable(
      file,
      `tensor ${show(name)} has dtype ${show(dtype)}; use one of ${storedDTypes.join(", ")}`,
    );
  if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0))
    throw unwritable(file, `tensor ${show(name)} has shape ${show(shape)}; use non-negative integers`);
  const bytes = storedBytes(dtype, shape);
  if (bytes === undefined)
    throw unwritable(
      file,
      `tensor ${show(name)} of dtype ${dtype} and shape ${show(shape)} is no whole number of bytes`,
    );
  return bytes;
}

function checkData(file: string, tensor: TensorData & { readonly name: string }): void {
  const { name, dtype, shape, data } = tensor;
  const bytes = checkLayout(file, tensor);
  const kind = Object.prototype.toString.call(data).slice(8, -1);
  const kinds = ["Uint8Array", ...(arrayKinds[dtype] ?? [])];
  if (!kinds.includes(kind))
    throw unwritable(
      file,
      `the ${dtype} data of tensor ${show(name)} is a ${kind}; convert it to ${kinds.join(" or ")}`,
    );
  if (data.byteLength !== bytes)
    throw unwritable(
      file,
      `tensor ${show(name)} of dtype ${dtype} and shape ${show(shape)} takes ${bytes} bytes, ` +
        `but its data has ${data.byteLength}; give data or shape that agree`,
    );
}

/** @file Opens the files that `torch.save` writes: where each tensor lies, without running anything in them. */
import type { FileHandle } from "node:fs/promises";
import { WeightsError } from "../errors.ts";
import { type StoredDType, storedBytes } from "./dtype.ts";
import { readExactly, show, withFile } from "./file.ts";
import { PickledCall, PickledName, PickledReference, PickleProblem, unpickle } from "./pickle.ts";
import type { StoredTensor } from "./safetensors.ts";
import { looksLikeZip, readZipDirectory, type ZipEntry } from "./zip.ts";

/** The tensors of one file, by name, in the order in which they were saved. */
export type TorchFile = { readonly file: string; readonly tensors: ReadonlyMap<string, StoredTensor> };

/** Names that `torch.save` files go by. */
export const torchExtensions: RegExp = /\.(pt|pth|bin|ckpt)$/;

const dtypes: Readonly<Record<string, StoredDType>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};

/** What training programs wrap the weights in, in the order in which they are unwrapped. */
const wrappers = ["model", "module", "state_dict"];

/** A pickle of more bytes than this describes something else than a model. */
const maxPickleBytes = 2 ** 28;

/**
 * Reads where the tensors of a `torch.save` file lie; no tensor data is read and nothing is executed. The file is a
 * zip archive: `data.pkl` says what there is, and every storage is an entry of raw little-endian values. Weights
 * wrapped in `model`, `module` or `state_dict` are unwrapped.
 * @throws {WeightsError} for a damaged file, the format of PyTorch before 1.6, and tensors that are not contiguous
 */
export async function openTorchFile(file: string): Promise<TorchFile> {
  return withFile(file, async (handle, size) => {
    await checkStart(handle, file, size);
    const entries = await readZipDirectory(handle, file, size);
    const pickle = [...entries.values()].find(({ name }) => /^([^/]+\/)?data\.pkl$/.test(name));
    if (pickle === undefined) throw broken(file, "it is a zip archive without data.pkl");
    const root = pickle.name.slice(0, -"data.pkl".length);
    await checkByteOrder(handle, file, entries.get(`${root}byteorder`));
    const state = unwrap(await readPickle(handle, file, pickle));
    const storage = (key: string) => entries.get(`${root}data/${key}`);
    return { file, tensors: collect(file, state, storage) };
  });
}

function broken(file: string, what: string, remedy = "fetch or save it again"): WeightsError {
  return new WeightsError(`${file} is not a PyTorch file that can be read: ${what}; ${remedy}`);
}

async function checkStart(handle: FileHandle, file: string, size: number): Promise<void> {
  const first = new Uint8Array(Math.min(size, 4));
  await readExactly(handle, file, first, 0);
  if (looksLikeZip(first)) return;
  if (first[0] === 0x80)
    throw broken(
      file,
      "it has the format of PyTorch before 1.6",
      "load it there and save it again with a newer PyTorch, or as .safetensors",
    );
  throw broken(file, "it does not begin as one");
}

async function checkByteOrder(handle: FileHandle, file: string, entry: ZipEntry | undefined): Promise<void> {
  if (entry === undefined) return;
  const bytes = new Uint8Array(Math.min(entry.byteLength, 16));
  await readExactly(handle, file, bytes, entry.offset);
  const order = new TextDecoder().decode(bytes).trim();
  if (order !== "little")
    throw broken(file, `its values are ${show(order)}-endian`, "save it again on a little-endian machine");
}

async function readPickle(handle: FileHandle, file: string, entry: ZipEntry): Promise<unknown> {
  if (entry.byteLength > maxPickleBytes)
    throw broken(file, `its data.pkl has ${entry.byteLength} bytes, which is no description of a model`);
  const bytes = new Uint8Array(entry.byteLength);
  await readExactly(handle, file, bytes, entry.offset);
  try {
    return unpickle(bytes);
  } catch (cause) {
    if (!(cause instanceof PickleProblem)) throw cause;
    throw broken(file, cause.message, "save only the state_dict of the model");
  }
}

function unwrap(value: unknown): unknown {
  let state = value;
  for (const name of wrappers) {
    const inner = state instanceof Map ? state.get(name) : undefined;
    if (inner instanceof Map) state = inner;
  }
  return state;
}

type FindStorage = (key: string) => ZipEntry | undefined;

function collect(file: string, state: unknown, storage: FindStorage): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  if (state instanceof Map)
    for (const [name, value] of state) {
      const call = tensorCall(value);
      if (call !== undefined) tensors.set(String(name), placeTensor(file, String(name), call, storage));
    }
  if (tensors.size === 0)
    throw broken(file, "it holds no dictionary of tensors", "save the state_dict of the model");
  return tensors;
}

/** The call that makes a tensor, also where it makes a parameter of it; undefined for all other values. */
function tensorCall(value: unknown): PickledCall | undefined {
  if (!(value instanceof PickledCall)) return undefined;
  if (value.path === "torch._utils._rebuild_tensor_v2") return value;
  return /^torch\._utils\._rebuild_parameter/.test(value.path) ? tensorCall(value.args[0]) : undefined;
}

/** The place of a tensor: arguments (storage, offset, shape, strides, ...), counted in elements. */
function placeTensor(file: string, name: string, { args }: PickledCall, storage: FindStorage): StoredTensor {
  const wrong = (what: string, remedy?: string) => broken(file, `tensor ${show(name)} ${what}`, remedy);
  const [reference, offset, shape, strides] = args;
  const { dtype, key } = storageOf(reference, wrong);
  if (!isCounts([offset]) || !isCounts(shape) || !isCounts(strides) || shape.length !== strides.length)
    throw wrong(`has the shape ${show(shape)}, the strides ${show(strides)} and the offset ${show(offset)}`);
  const byteLength = storedBytes(dtype, shape);
  if (byteLength === undefined) throw wrong(`has shape ${show(shape)}, which is more than there can be`);
  if (!isContiguous(shape, strides))
    throw wrong(
      `of shape [${shape}] has strides [${strides}], so its values do not lie one behind the other`,
      "save it with .contiguous()",
    );
  const entry = storage(key);
  if (entry === undefined) throw wrong(`lies in storage ${show(key)}, which the file does not hold`);
  const start = Number(offset) * storedBytes(dtype, [1])!;
  if (start + byteLength > entry.byteLength)
    throw wrong(`needs ${start + byteLength} bytes of storage ${show(key)}, which has ${entry.byteLength}`);
  return { name, dtype, shape, file, offset: entry.offset + start, byteLength };
}

function storageOf(
  reference: unknown,
  wrong: (what: string) => WeightsError,
): { dtype: StoredDType; key: string } {
  const id = reference instanceof PickledReference ? reference.id : undefined;
  const [kind, type, key] = Array.isArray(id) ? id : [];
  if (kind !== "storage" || !(type instanceof PickledName) || typeof key !== "string")
    throw wrong("does not say where its values lie");
  const dtype = dtypes[type.path.replace(/^torch\./, "")];
  if (dtype === undefined) throw wrong(`has values of ${show(type.path)}, which is not known here`);
  return { dtype, key };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

/** Row-major without holes; the stride of an axis with one entry says nothing. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

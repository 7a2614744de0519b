/** @file Writes a planned conversion as a .safetensors file, piece by piece: the model is never in memory. */
import { CancelledError, WeightsError } from "../../errors.ts";
import { bf16ToFloats, f16ToFloats, floatsToBf16, floatsToF16 } from "../cast.ts";
import type { StoredDType } from "../dtype.ts";
import { readExactly, show, withFile } from "../file.ts";
import { isQuantizable, type Quantization, quantizedLayouts } from "../quantize/format.ts";
import { roundMatrix } from "../quantize/round.ts";
import { openSafetensorsWriter, type SafetensorsWriter } from "../write.ts";
import type { PlannedTensor } from "./plan.ts";

/** The number formats weights can be converted to. */
export type FloatDType = "F32" | "F16" | "BF16";

/** Changes whole rows of a tensor in place; `firstRow` is where in the tensor `values` begins. */
export type EditRows = (values: Float32Array, firstRow: number) => void;

export type WriteOptions = {
  /** What all float tensors become; as they are unless given. */
  readonly dtype?: FloatDType;
  readonly metadata?: Readonly<Record<string, string>>;
  /** The change that a tensor gets on its way, by its name in the result. */
  readonly editOf?: (name: string) => Promise<EditRows | undefined>;
  /** What its matrices are quantised to, see quantize/format.ts; they stay as they are unless given. */
  readonly quantization?: Quantization;
  readonly signal?: AbortSignal;
  /** Given what discards the file that is being written, for a process that has to end. */
  readonly onOpen?: (abort: () => Promise<void>) => void;
  /** Called after every tensor. */
  readonly onTensor?: (done: number, total: number) => void;
};

/** Bytes read in one go, rounded to whole rows. */
const pieceBytes = 2 ** 25;

const toFloats: Partial<Record<StoredDType, (bytes: ArrayBuffer) => Float32Array>> = {
  F64: (bytes) => Float32Array.from(new Float64Array(bytes)),
  F32: (bytes) => new Float32Array(bytes),
  F16: (bytes) => f16ToFloats(new Uint16Array(bytes)),
  BF16: (bytes) => bf16ToFloats(new Uint16Array(bytes)),
};

const fromFloats: Readonly<Record<FloatDType, (values: Float32Array) => ArrayBufferView>> = {
  F32: (values) => values,
  F16: floatsToF16,
  BF16: floatsToBf16,
};

/**
 * Writes the tensors to `file`, which appears when it is complete.
 * @throws {WeightsError} when a value has no place in `dtype`, or the system refuses; CancelledError after `signal`
 */
export async function writePlan(
  file: string,
  tensors: readonly PlannedTensor[],
  options: WriteOptions = {},
): Promise<void> {
  const { dtype, metadata = { format: "pt" }, editOf, quantization, signal, onOpen, onTensor } = options;
  const target = (tensor: PlannedTensor) => (dtype && toFloats[tensor.dtype] ? dtype : tensor.dtype);
  const layout = tensors.flatMap((tensor) =>
    quantization && isQuantizable(tensor)
      ? quantizedLayouts(tensor, quantization)
      : [{ ...tensor, dtype: target(tensor) }],
  );
  const writer = await openSafetensorsWriter(file, layout, metadata);
  onOpen?.(() => writer.abort());
  try {
    for (const [i, tensor] of tensors.entries()) {
      if (signal?.aborted)
        throw new CancelledError(`stopped before ${file} was complete; nothing is left of it`);
      const edit = await editOf?.(tensor.name);
      if (quantization && isQuantizable(tensor)) await writeQuantized(writer, tensor, quantization, edit);
      else await writeTensor(writer, tensor, target(tensor), edit);
      onTensor?.(i + 1, tensors.length);
    }
  } catch (error) {
    await writer.abort();
    throw error;
  }
  await writer.close();
}

async function writeTensor(
  writer: SafetensorsWriter,
  tensor: PlannedTensor,
  dtype: StoredDType,
  edit: EditRows | undefined,
): Promise<void> {
  const bytes = tensor.pieces.reduce((sum, { start, end }) => sum + end - start, 0);
  const rowBytes = Math.max(1, bytes / (tensor.shape[0] ?? 1));
  let done = 0;
  for await (const piece of readPieces(tensor, rowBytes)) {
    if (dtype === tensor.dtype && !edit) await writer.append(new Uint8Array(piece));
    else {
      const values = widen(tensor, piece);
      edit?.(values, done / rowBytes);
      await writer.append(narrow(tensor, values, dtype));
    }
    done += piece.byteLength;
  }
}

/** One matrix at a time is in memory: its scales come from whole rows, and its bytes may lie by columns. */
async function writeQuantized(
  writer: SafetensorsWriter,
  tensor: PlannedTensor,
  quantization: Quantization,
  edit: EditRows | undefined,
): Promise<void> {
  const [out, width] = tensor.shape;
  const values = new Float32Array(out * width);
  const bytes = tensor.pieces.reduce((sum, { start, end }) => sum + end - start, 0);
  let done = 0;
  for await (const piece of readPieces(tensor, bytes / out)) {
    const part = widen(tensor, piece);
    edit?.(part, done / width);
    values.set(part, done);
    done += part.length;
  }
  const bad = values.find((value) => !Number.isFinite(value));
  if (bad !== undefined)
    throw new WeightsError(`tensor ${show(tensor.name)} holds ${bad}, which cannot be quantised`);
  const { weight, scale } = roundMatrix(values, out, quantization);
  await writer.append(weight);
  await writer.append(scale);
}

/** The data of a tensor in order, in pieces of whole rows. */
async function* readPieces({ pieces }: PlannedTensor, rowBytes: number): AsyncGenerator<ArrayBuffer> {
  const step = Math.max(1, Math.floor(pieceBytes / rowBytes)) * rowBytes;
  for (const { from, start, end } of pieces)
    for (let at = start; at < end; at += step) {
      const buffer = new ArrayBuffer(Math.min(step, end - at));
      await withFile(from.file, (handle) =>
        readExactly(handle, from.file, new Uint8Array(buffer), from.offset + at),
      );
      yield buffer;
    }
}

function widen(tensor: PlannedTensor, piece: ArrayBuffer): Float32Array {
  const convert = toFloats[tensor.dtype];
  if (convert) return convert(piece);
  throw new WeightsError(
    `tensor ${show(tensor.name)} holds ${tensor.dtype}, and only ${Object.keys(toFloats).join(", ")} can be changed`,
  );
}

function narrow(tensor: PlannedTensor, values: Float32Array, dtype: StoredDType): ArrayBufferView {
  if (dtype === "F16") refuseOverflow(tensor, values);
  return fromFloats[dtype as FloatDType](values);
}

/** The largest half is 65504; from halfway to the next one on, values become infinite. */
function refuseOverflow({ name, dtype }: PlannedTensor, values: Float32Array): void {
  const tooLarge = values.find((value) => Math.abs(value) >= 65_520 && Number.isFinite(value));
  if (tooLarge !== undefined)
    throw new WeightsError(
      `tensor ${show(name)}, ${dtype}, holds ${tooLarge}, which float16 does not reach; stay with bf16 or f32 (--precision fp32)`,
    );
}

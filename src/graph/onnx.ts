/** @file Writes a graph as the bytes of an ONNX model. */
import { SessionError } from "../errors.ts";
import { type DType, dtypes, type HostArray } from "./dtype.ts";
import { type LowerRule, lower } from "./lower.ts";
import type { Op } from "./ops.ts";
import { Message } from "./protobuf.ts";
import { type Shape, sizeOf } from "./shape.ts";
import { attrsOf, type Tensor, toposort } from "./tensor.ts";

/** The bytes of one parameter as they lie in a file of the checkpoint. */
export type ParamStorage = {
  readonly dtype: DType;
  /** Path relative to the folder that the session is given for external data. */
  readonly location: string;
  readonly offset: number;
  readonly byteLength: number;
};

export type OnnxOptions = {
  /** Where a parameter is mapped from; a parameter without storage becomes a model input of its own name. */
  readonly storage?: (key: string) => ParamStorage | undefined;
  /**
   * Of a parameter that is fed: whether it is computed with as bfloat16 would hold it. It is rounded where it is first
   * used, stays narrow, and is widened as late as a mapped one.
   */
  readonly rounded?: (key: string) => boolean;
  /** Keeps to what operators do on every device, where the CPU's may do more. */
  readonly portable?: boolean;
  /** The engine reorders constant matrices when it loads the model, which quantised linear maps need to be fast. */
  readonly prepack?: boolean;
  /** Activations of quantised linear maps keep to 7 bits, for processors that add products of bytes in 16 bits. */
  readonly narrowBytes?: boolean;
  /** Operators write outputs themselves, which saves a copy of each; plans of memory count those copies. */
  readonly direct?: boolean;
};

/** A model to be handed to the engine, with what it must be fed and what it returns. */
export type OnnxModel = {
  readonly bytes: Uint8Array;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Names of nodes, by what they need of a device. */
  readonly needs: Readonly<Record<Need, readonly string[]>>;
  /** Whether something is computed in float16, where finite values end at 65504. */
  readonly inHalves: boolean;
};

/**
 * What not every device can do: read float16 values from a file of the checkpoint, and fused attention, which has
 * kernels that some GPUs compute wrongly.
 */
export type Need = "f16" | "attention";

export type Port = { readonly name: string; readonly shape: Shape; readonly dtype: DType };

type StoredParam = { readonly name: string; readonly dtype: DType };

type AttributeValue = number | string | readonly number[] | { readonly float: number };

/** An ONNX node and the value that it makes; both have one name until an output renames the value. */
type OnnxNode = {
  readonly opType: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  readonly domain: string;
};

/** Stands before every output's name inside the model, where an input may have the same name. */
export const OUTPUT_PREFIX = "out/";

/** Parameters below this many elements are widened whenever the engine likes. */
const WIDEN_LATE_ELEMENTS = 1 << 18;

/** Results of reshapes below this many elements have sizes that the engine knows when it plans. */
const HIDE_FROM_ELEMENTS = 1 << 16;

const OPSET = 23;
const IR_VERSION = 11;

/** Lowers the nodes that `outputs` need, in order, each under the name of its scope. */
export function toOnnx(outputs: Readonly<Record<string, Tensor>>, options: OnnxOptions = {}): OnnxModel {
  const writer = new OnnxWriter(options);
  for (const node of toposort(Object.values(outputs))) writer.lower(node);
  for (const [name, node] of Object.entries(outputs)) writer.output(name, node);
  return writer.finish();
}

/** Collects nodes and initializers; the rules in `lower.ts` talk to this. */
export class OnnxWriter {
  private readonly nodes = new Map<string, OnnxNode>();
  /** Names of outputs by the values that nodes write there. */
  private readonly written = new Map<string, string>();
  private readonly initializers = new Message();
  private readonly values = new Map<Tensor, string>();
  private readonly vectors = new Map<string, string>();
  private readonly inputs: Port[] = [];
  private readonly outputs: Port[] = [];
  private readonly f16Values = new Set<string>();
  private readonly needs: Record<Need, string[]> = { f16: [], attention: [] };
  private inHalves = false;
  private readonly options: OnnxOptions;
  private path = "";
  private count = 0;
  private readonly storedParams = new Map<string, StoredParam>();
  /** Nodes whose value depends on what is fed, and the one of them that was lowered last. */
  private readonly fed = new Set<Tensor>();
  private latest: string | null = null;
  private zero: string | null = null;

  constructor(options: OnnxOptions) {
    this.options = options;
  }

  lower(node: Tensor): void {
    if (node.op === "Param") return;
    this.path = node.path;
    this.inHalves ||= node.dtype === "f16";
    const rule = lower[node.op] as LowerRule<Op>;
    const name = rule(this, node, node.attrs);
    this.values.set(node, name);
    if (node.op === "Input" || node.inputs.some((x) => this.fed.has(x))) {
      this.fed.add(node);
      if (node.shape.length > 0) this.latest = name;
    }
  }

  /** The ONNX name of a tensor that was lowered before; a parameter is brought in by its first user. */
  nameOf(node: Tensor): string {
    const known = this.values.get(node);
    if (known !== undefined) return known;
    if (node.op !== "Param")
      throw new SessionError(`node ${node.op} in ${node.path} was used before it was lowered`);
    const name = this.widened(this.stored(node), node);
    this.values.set(node, name);
    return name;
  }

  /** A parameter as it is stored, with its type; operators that only move rows widen after they moved them. */
  stored(node: Tensor): StoredParam {
    const { key } = attrsOf(node, "Param");
    const known = this.storedParams.get(key);
    if (known !== undefined) return known;
    const storage = this.options.storage?.(key);
    const param = storage
      ? { name: this.mapped(key, node.shape, storage), dtype: storage.dtype }
      : this.fedParam(key, node);
    this.storedParams.set(key, param);
    return param;
  }

  private fedParam(key: string, { shape, dtype }: Tensor): StoredParam {
    const name = this.input({ name: key, shape, dtype });
    if (this.options.rounded?.(key) !== true) return { name, dtype };
    return { name: this.node("Cast", [name], { to: dtypes.bf16.onnx }), dtype: "bf16" };
  }

  /** See `OnnxOptions.portable`. */
  get isPortable(): boolean {
    return this.options.portable === true;
  }

  /** See `OnnxOptions.narrowBytes`. */
  get hasNarrowBytes(): boolean {
    return this.options.narrowBytes === true;
  }

  /** Whether a tensor is a parameter that lies in a file in a narrower type. */
  isNarrow(node: Tensor): boolean {
    if (node.op !== "Param") return false;
    const storage = this.options.storage?.(attrsOf(node, "Param").key);
    return storage !== undefined && storage.dtype !== node.dtype;
  }

  /** Rows `start` to `end` of a narrow parameter, mapped on their own and widened once `after` has been computed. */
  widenedRows(node: Tensor, start: number, end: number, after: string): string {
    const { key } = attrsOf(node, "Param");
    const storage = this.options.storage?.(key);
    if (storage === undefined)
      throw new SessionError(`parameter ${key} is not mapped, so no rows of it can be`);
    const rowBytes = storage.byteLength / node.shape[0];
    const part = {
      ...storage,
      offset: storage.offset + start * rowBytes,
      byteLength: (end - start) * rowBytes,
    };
    const shape = node.shape.with(0, end - start);
    const rows = this.mapped(`${key}[${start}:${end}]`, shape, part);
    return this.widenedAfter(rows, shape, node.dtype, after);
  }

  private widened({ name, dtype }: StoredParam, node: Tensor): string {
    const isSmall = sizeOf(node.shape) < WIDEN_LATE_ELEMENTS;
    if (dtype === node.dtype) return isSmall ? name : this.hidden(name, node);
    if (isSmall || this.latest === null) return this.node("Cast", [name], { to: dtypes[node.dtype].onnx });
    return this.widenedAfter(name, node.shape, node.dtype, this.latest);
  }

  /**
   * A large matrix that the engine would copy too early, behind a reshape that it cannot do before the run. Where
   * matrices are reordered, the copy of one of float32 would stay in memory; on a processor, all of float16 would be
   * widened before anything else runs.
   */
  private hidden(name: string, { shape, dtype }: Tensor): string {
    const isCopied = dtype === "f32" ? this.options.prepack : dtype === "f16" && !this.isPortable;
    if (!isCopied || this.latest === null) return name;
    return this.node("Reshape", [name, this.keepAxes(shape.length, this.latest)]);
  }

  /**
   * Casts a stored value, but not before `after` is there: the engine would otherwise cast every weight of a model
   * first and hold all of them.
   */
  private widenedAfter(name: string, shape: Shape, to: DType, after: string): string {
    const view = this.node("Reshape", [name, this.keepAxes(shape.length, after)]);
    return this.node("Cast", [view], { to: dtypes[to].onnx });
  }

  /** A reshape target that keeps `rank` axes and is not known before `after` is: zeros, computed from its shape. */
  keepAxes(rank: number, after: string): string {
    const size = this.node("Shape", [after], { start: 0, end: 1 });
    return this.node("Mul", [size, this.ints(Array(rank).fill(0))]);
  }

  /** Adds one ONNX node and returns the name of its first output. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    domain = "",
  ): string {
    const name = this.fresh(opType);
    this.noteNeeds(opType, inputs, name);
    this.nodes.set(name, { opType, name, inputs, attributes, domain });
    return name;
  }

  /** An int64 vector, shared between the nodes that need the same one. */
  ints(values: readonly number[]): string {
    const key = values.join();
    const known = this.vectors.get(key);
    if (known !== undefined) return known;
    const name = this.initializer(BigInt64Array.from(values, BigInt), [values.length], "i64");
    this.vectors.set(key, name);
    return name;
  }

  /**
   * The target of a reshape to `size` elements, which the engine cannot know before the run where they are many. Where
   * it knows sizes it plans to use freed buffers of one size again and keeps them until then, which costs far more
   * memory than it saves time. Small ones it may know: it compares every buffer with all that it has not found a use
   * for, and thousands of those take longer to load than to run.
   */
  hiddenInts(values: readonly number[], size = Number.POSITIVE_INFINITY): string {
    if (size < HIDE_FROM_ELEMENTS) return this.ints(values);
    const key = `hidden ${values.join()}`;
    const known = this.vectors.get(key);
    if (known !== undefined || this.latest === null) return known ?? this.ints(values);
    this.zero ??= this.keepAxes(1, this.latest);
    const name = this.node("Add", [this.ints(values), this.zero]);
    this.vectors.set(key, name);
    return name;
  }

  /** Data that travels inside the model. */
  initializer(data: HostArray, shape: Shape, dtype: DType): string {
    const name = this.fresh("const");
    const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.initializers.message(5, tensorHeader(name, shape, dtype).bytes(9, raw));
    return name;
  }

  input(port: Port): string {
    this.inputs.push(port);
    return port.name;
  }

  output(name: string, node: Tensor): void {
    const port = { name: OUTPUT_PREFIX + name, shape: node.shape, dtype: node.dtype };
    const value = this.nameOf(node);
    const isWritten = this.options.direct === true && this.nodes.has(value) && !this.written.has(value);
    const maker = isWritten ? value : this.node("Identity", [value]);
    this.written.set(maker, port.name);
    this.outputs.push(port);
  }

  finish(): OnnxModel {
    const { inputs, outputs, needs, inHalves } = this;
    const graph = new Message();
    for (const node of this.nodes.values()) graph.message(1, this.encoded(node));
    graph.string(2, "cogvideox");
    for (const port of inputs) this.initializers.message(11, valueInfo(port));
    for (const port of outputs) this.initializers.message(12, valueInfo(port));
    const opset = (domain: string, version: number) => new Message().string(1, domain).int(2, version);
    const model = new Message()
      .int(1, IR_VERSION)
      .string(2, "cogvideox")
      .message(7, graph.append(this.initializers))
      .message(8, opset("", OPSET))
      .message(8, opset("com.microsoft", 1))
      .message(8, opset("com.microsoft.nchwc", 1));
    return { bytes: model.finish(), inputs, outputs, needs, inHalves };
  }

  private encoded({ opType, name, inputs, attributes, domain }: OnnxNode): Message {
    const nameOfValue = (value: string) => this.written.get(value) ?? value;
    const node = new Message();
    for (const value of inputs) node.string(1, nameOfValue(value));
    node.string(2, nameOfValue(name)).string(3, name).string(4, opType);
    for (const [key, value] of Object.entries(attributes)) node.message(5, attribute(key, value));
    return domain === "" ? node : node.string(7, domain);
  }

  private mapped(name: string, shape: Shape, { dtype, location, offset, byteLength }: ParamStorage): string {
    const entry = (key: string, value: string) => new Message().string(1, key).string(2, value);
    const tensor = tensorHeader(name, shape, dtype)
      .message(13, entry("location", location))
      .message(13, entry("offset", String(offset)))
      .message(13, entry("length", String(byteLength)))
      .int(14, 1);
    this.initializers.message(5, tensor);
    if (dtype === "f16") this.f16Values.add(name);
    return name;
  }

  /** Stored values stay narrow through nodes that move them, up to the cast. */
  private noteNeeds(opType: string, inputs: readonly string[], output: string): void {
    if (opType === "MultiHeadAttention") this.needs.attention.push(output);
    if (!inputs.some((name) => this.f16Values.has(name))) return;
    this.needs.f16.push(output);
    if (opType !== "Cast" && opType !== "Shape") this.f16Values.add(output);
  }

  private fresh(label: string): string {
    return `${this.path}/${label}.${this.count++}`;
  }
}

function tensorHeader(name: string, shape: Shape, dtype: DType): Message {
  return new Message().ints(1, shape).int(2, dtypes[dtype].onnx).string(8, name);
}

/** The first axis has a name in place of its length, see `openFirst` in lower.ts. */
function valueInfo({ name, shape, dtype }: Port): Message {
  const dims = new Message();
  for (const [axis, d] of shape.entries())
    dims.message(1, axis === 0 ? new Message() : new Message().int(1, d));
  const tensorType = new Message().int(1, dtypes[dtype].onnx).message(2, dims);
  return new Message().string(1, name).message(2, new Message().message(1, tensorType));
}

function attribute(name: string, value: AttributeValue): Message {
  const proto = new Message().string(1, name);
  if (typeof value === "string") return proto.string(4, value).int(20, 3);
  if (typeof value === "number") return proto.int(3, value).int(20, 2);
  if ("float" in value) return proto.float(2, value.float).int(20, 1);
  return proto.ints(8, value).int(20, 7);
}

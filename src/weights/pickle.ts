/** @file Reads pickles as data: dictionaries, lists, numbers, text and named things that nothing ever calls. */
import { show } from "./file.ts";

/** A class or function that a pickle names. It is a name and no more: nothing is looked up and nothing runs. */
export class PickledName {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }
}

/** What the pickle says is made by calling `path` with `args`. */
export class PickledCall {
  readonly path: string;
  readonly args: readonly unknown[];

  constructor(path: string, args: readonly unknown[]) {
    this.path = path;
    this.args = args;
  }
}

/** A reference to something that is stored beside the pickle. */
export class PickledReference {
  readonly id: unknown;

  constructor(id: unknown) {
    this.id = id;
  }
}

/** The pickle is damaged or uses something else than data; the message is half a sentence. */
export class PickleProblem extends Error {}

/** Calls that make plain containers. */
const containers: Readonly<Record<string, (args: readonly unknown[]) => unknown>> = {
  "collections.OrderedDict": ([items]) => new Map(Array.isArray(items) ? items.filter(isPair) : []),
  "torch.Size": ([items]) => (Array.isArray(items) ? items : []),
};

type Step = (machine: Machine) => void;

/**
 * The value of a pickle. Dictionaries are Maps, lists and tuples arrays, whole numbers beyond 2^53 bigints. State that
 * objects are given after they are made is left out.
 * @throws {PickleProblem} for anything that is not data of protocols 2 to 5
 */
export function unpickle(bytes: Uint8Array): unknown {
  const machine = new Machine(bytes);
  for (;;) {
    const code = machine.byte();
    if (code === STOP) return machine.pop();
    const step = steps[code];
    if (step === undefined)
      throw new PickleProblem(`it uses the pickle operation 0x${code.toString(16)}, which is not data`);
    step(machine);
  }
}

class Machine {
  readonly memo = new Map<number, unknown>();
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #stack: unknown[] = [];
  readonly #outer: unknown[][] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }

  f64(): number {
    return this.#view.getFloat64(this.#take(8), false);
  }

  /** A length of eight bytes. */
  u64(): number {
    const value = this.#view.getBigUint64(this.#take(8), true);
    if (value > BigInt(this.#bytes.length)) throw new PickleProblem("its pickle ends in the middle");
    return Number(value);
  }

  bytes(length: number): Uint8Array {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  text(length: number): string {
    return new TextDecoder().decode(this.bytes(length));
  }

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw new PickleProblem("its pickle ends in the middle");
    const text = this.text(end - this.#at);
    this.#at = end + 1;
    return text;
  }

  push(value: unknown): void {
    this.#stack.push(value);
  }

  pop(): unknown {
    if (this.#stack.length === 0) throw new PickleProblem("its pickle takes more than it made");
    return this.#stack.pop();
  }

  top(): unknown {
    if (this.#stack.length === 0) throw new PickleProblem("its pickle takes more than it made");
    return this.#stack[this.#stack.length - 1];
  }

  mark(): void {
    this.#outer.push(this.#stack);
    this.#stack = [];
  }

  /** Everything since the last mark. */
  popToMark(): unknown[] {
    const items = this.#stack;
    const outer = this.#outer.pop();
    if (outer === undefined) throw new PickleProblem("its pickle closes what it did not open");
    this.#stack = outer;
    return items;
  }

  remember(index: number): void {
    this.memo.set(index, this.top());
  }

  recall(index: number): void {
    if (!this.memo.has(index)) throw new PickleProblem("its pickle refers to what it did not make");
    this.push(this.memo.get(index));
  }

  #take(length: number): number {
    const start = this.#at;
    if (start + length > this.#bytes.length) throw new PickleProblem("its pickle ends in the middle");
    this.#at = start + length;
    return start;
  }
}

const STOP = 0x2e;

/** What every operation does, by its code (Python's pickletools names them). */
const steps: Readonly<Record<number, Step>> = {
  128: (m) => checkProtocol(m.byte()), // PROTO
  149: (m) => void m.bytes(8), // FRAME
  40: (m) => m.mark(), // MARK
  48: (m) => void m.pop(), // POP
  49: (m) => void m.popToMark(), // POP_MARK
  50: (m) => m.push(m.top()), // DUP
  78: (m) => m.push(null), // NONE
  136: (m) => m.push(true), // NEWTRUE
  137: (m) => m.push(false), // NEWFALSE
  74: (m) => m.push(m.i32()), // BININT
  75: (m) => m.push(m.byte()), // BININT1
  77: (m) => m.push(m.u16()), // BININT2
  138: (m) => m.push(longOf(m.bytes(m.byte()))), // LONG1
  71: (m) => m.push(m.f64()), // BINFLOAT
  88: (m) => m.push(m.text(m.u32())), // BINUNICODE
  140: (m) => m.push(m.text(m.byte())), // SHORT_BINUNICODE
  141: (m) => m.push(m.text(m.u64())), // BINUNICODE8
  66: (m) => m.push(m.bytes(m.u32())), // BINBYTES
  67: (m) => m.push(m.bytes(m.byte())), // SHORT_BINBYTES
  84: (m) => m.push(m.text(m.u32())), // BINSTRING
  85: (m) => m.push(m.text(m.byte())), // SHORT_BINSTRING
  93: (m) => m.push([]), // EMPTY_LIST
  41: (m) => m.push([]), // EMPTY_TUPLE
  125: (m) => m.push(new Map()), // EMPTY_DICT
  143: (m) => m.push([]), // EMPTY_SET
  108: (m) => m.push(m.popToMark()), // LIST
  116: (m) => m.push(m.popToMark()), // TUPLE
  145: (m) => m.push(m.popToMark()), // FROZENSET
  100: (m) => m.push(new Map(pairs(m.popToMark()))), // DICT
  133: (m) => m.push(popSeveral(m, 1)), // TUPLE1
  134: (m) => m.push(popSeveral(m, 2)), // TUPLE2
  135: (m) => m.push(popSeveral(m, 3)), // TUPLE3
  97: (m) => append(m, [m.pop()]), // APPEND
  101: (m) => append(m, m.popToMark()), // APPENDS
  144: (m) => append(m, m.popToMark()), // ADDITEMS
  115: (m) => assign(m, popSeveral(m, 2)), // SETITEM
  117: (m) => assign(m, m.popToMark()), // SETITEMS
  113: (m) => m.remember(m.byte()), // BINPUT
  114: (m) => m.remember(m.u32()), // LONG_BINPUT
  148: (m) => m.remember(m.memo.size), // MEMOIZE
  104: (m) => m.recall(m.byte()), // BINGET
  106: (m) => m.recall(m.u32()), // LONG_BINGET
  99: (m) => m.push(new PickledName(`${m.line()}.${m.line()}`)), // GLOBAL
  147: (m) => m.push(stackName(m)), // STACK_GLOBAL
  82: (m) => m.push(call(m)), // REDUCE
  129: (m) => m.push(call(m)), // NEWOBJ
  98: (m) => void m.pop(), // BUILD
  81: (m) => m.push(new PickledReference(m.pop())), // BINPERSID
};

function checkProtocol(protocol: number): void {
  if (protocol < 2 || protocol > 5)
    throw new PickleProblem(`it is a pickle of protocol ${protocol}, and 2 to 5 are known`);
}

function popSeveral(m: Machine, count: number): unknown[] {
  const items = Array.from({ length: count }, () => m.pop());
  return items.reverse();
}

/** Little-endian two's complement of any length. */
function longOf(bytes: Uint8Array): number | bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
  const signed = BigInt.asIntN(8 * bytes.length, value);
  return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
}

function pairs(items: readonly unknown[]): [unknown, unknown][] {
  if (items.length % 2 !== 0) throw new PickleProblem("its pickle has a key without a value");
  return Array.from({ length: items.length / 2 }, (_, i) => [items[2 * i], items[2 * i + 1]]);
}

function isPair(item: unknown): item is [unknown, unknown] {
  return Array.isArray(item) && item.length === 2;
}

/** Adds to a list; what is added to anything else is left out. */
function append(m: Machine, items: readonly unknown[]): void {
  const list = m.top();
  if (Array.isArray(list)) for (const item of items) list.push(item);
}

/** Adds to a dictionary; what is added to anything else is left out. */
function assign(m: Machine, items: readonly unknown[]): void {
  const entries = pairs(items);
  const map = m.top();
  if (map instanceof Map) for (const [key, value] of entries) map.set(key, value);
}

function stackName(m: Machine): PickledName {
  const [module, name] = popSeveral(m, 2);
  if (typeof module !== "string" || typeof name !== "string")
    throw new PickleProblem(`its pickle names ${show(module)} where text belongs`);
  return new PickledName(`${module}.${name}`);
}

function call(m: Machine): unknown {
  const [callee, args] = popSeveral(m, 2);
  if (!Array.isArray(args)) throw new PickleProblem("its pickle calls something without arguments");
  // What an unknown call would give can be called in turn; it stays unknown.
  const path = callee instanceof PickledName || callee instanceof PickledCall ? callee.path : undefined;
  if (path === undefined) throw new PickleProblem("its pickle calls what is not a name");
  return Object.hasOwn(containers, path) ? containers[path](args) : new PickledCall(path, args);
}

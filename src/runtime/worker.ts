/** @file The engine's thread: holds sessions and resident tensors, and does one request after the other. */
import { performance } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { parentPort, workerData } from "node:worker_threads";
import * as ort from "onnxruntime-node";
import { hostArray } from "../graph/dtype.ts";
import { OUTPUT_PREFIX } from "../graph/onnx.ts";
import { cpu, type OpenDevice, openDevice } from "./device.ts";
import { keepFreedMemory, returnFreedMemory } from "./heap.ts";
import { fromOrt, toOrt } from "./ort-tensor.ts";
import type {
  Call,
  Calls,
  EngineSettings,
  HostTensor,
  LoadRequest,
  ReplyMessage,
  RequestMessage,
  ResidentRef,
  RunReply,
  RunRequest,
} from "./protocol.ts";
import { sessionOptions } from "./session-options.ts";

const settings = workerData as EngineSettings;
const port = parentPort!;
const sessions = new Map<number, ort.InferenceSession>();
const residents = new Map<number, ort.Tensor>();
let device: OpenDevice = cpu;
let nextId = 1;
let droppedBytes = 0;

/** Dropped tensors beyond this many bytes are collected at once instead of when V8 finds the time. */
const COLLECT_AFTER_BYTES = 64 << 20;

keepFreedMemory();
// Whatever the engine would print comes as an exception too.
ort.env.logLevel = "fatal";
setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

const handlers: {
  [C in Call]: (request: Calls[C]["request"]) => Promise<Calls[C]["reply"]> | Calls[C]["reply"];
} = {
  open: async () => {
    if (settings.device !== "cpu") device = await openDevice(settings.device);
    return device.lacks;
  },
  load,
  run,
  unload: async ({ session }) => {
    await sessions.get(session)?.release();
    sessions.delete(session);
    return null;
  },
  upload: (tensors) => tensors.map((tensor) => keep(toOrt(tensor))),
  download: ({ ids, keep: kept }) => ids.map((id) => download(id, kept)),
  free: ({ ids }) => {
    for (const id of ids) drop(id);
    return null;
  },
  trim: () => {
    droppedBytes = 0;
    collectGarbage();
    returnFreedMemory();
    return null;
  },
  close: async () => {
    for (const session of sessions.values()) await session.release();
    sessions.clear();
    residents.clear();
    await device.close();
    device = cpu;
    return null;
  },
};

let queue = Promise.resolve();
port.on("message", (message: RequestMessage) => {
  queue = queue.then(() => answer(message));
});

async function answer({ call, ticket, request }: RequestMessage): Promise<void> {
  try {
    // The table pairs each call with its request; TypeScript cannot follow that through an index.
    const handler = handlers[call] as (request: unknown) => unknown;
    const reply = await handler(request);
    const moved =
      call === "download" ? (reply as HostTensor[]).map(({ data }) => data.buffer as ArrayBuffer) : [];
    port.postMessage({ ticket, reply } satisfies ReplyMessage, moved);
    if (call === "close") port.close();
  } catch (error) {
    const { message, stack } = error as Error;
    port.postMessage({ ticket, error: { message, stack } } satisfies ReplyMessage);
  }
  collectDropped();
}

async function load(request: LoadRequest): Promise<{ session: number }> {
  const options = sessionOptions(settings, request, device);
  const session = await ort.InferenceSession.create(request.bytes, options);
  sessions.set(nextId, session);
  return { session: nextId++ };
}

async function run({ session, feeds, consume, into, unchecked }: RunRequest): Promise<RunReply> {
  const live = sessions.get(session);
  if (live === undefined) throw new Error(`session ${session} was unloaded`);
  const fed: Record<string, ort.Tensor> = {};
  for (const [name, value] of Object.entries(feeds))
    fed[name] = "id" in value ? resident(value.id) : toOrt(value);
  const names = live.outputNames.map((given) => [given, given.slice(OUTPUT_PREFIX.length)] as const);
  const places = names.map(([given, name]) => [given, name in into ? resident(into[name]) : null]);
  const start = performance.now();
  const results = await live.run(fed, Object.fromEntries(places));
  const seconds = (performance.now() - start) / 1000;
  for (const id of consume) drop(id);
  const fresh: Record<string, ResidentRef> = {};
  const over: Record<string, ResidentRef> = {};
  for (const [given, name] of names)
    if (name in into) {
      over[name] = refTo(into[name]);
      // What was written over a resident comes back as a copy as well, which nobody takes.
      droppedBytes += (results[given].data as Float32Array).byteLength;
    } else fresh[name] = keep(results[given]);
  return { outputs: { ...over, ...fresh }, nonFinite: firstNonFinite(fresh, new Set(unchecked)), seconds };
}

function download(id: number, kept: boolean): HostTensor {
  const tensor = fromOrt(resident(id));
  if (!kept) {
    residents.delete(id);
    return tensor;
  }
  const copy = hostArray(tensor.dtype, tensor.data.length);
  copy.set(tensor.data as never);
  return { ...tensor, data: copy };
}

function keep(tensor: ort.Tensor): ResidentRef {
  const id = nextId++;
  residents.set(id, tensor);
  return refTo(id);
}

function refTo(id: number): ResidentRef {
  const { dtype, shape } = fromOrt(resident(id));
  return { id, dtype, shape };
}

function resident(id: number): ort.Tensor {
  const tensor = residents.get(id);
  if (tensor === undefined) throw new Error(`resident tensor ${id} was freed before it was used`);
  return tensor;
}

function drop(id: number): void {
  const tensor = residents.get(id);
  if (tensor === undefined) return;
  residents.delete(id);
  droppedBytes += (tensor.data as Float32Array).byteLength;
}

/** The buffers of dropped tensors are freed by the garbage collector only, which does not see their weight in time. */
function collectDropped(): void {
  if (droppedBytes < COLLECT_AFTER_BYTES) return;
  droppedBytes = 0;
  collectGarbage();
}

function firstNonFinite(outputs: RunReply["outputs"], unchecked: ReadonlySet<string>): string | null {
  for (const [name, { id, dtype }] of Object.entries(outputs))
    if (dtype === "f32" && !unchecked.has(name) && !allFinite(resident(id).data as Float32Array)) return name;
  return null;
}

/** x · 0 is 0 for finite x and NaN otherwise, so sums tell; four of them, because one would wait for itself. */
function allFinite(data: Float32Array): boolean {
  let [a, b, c, d] = [0, 0, 0, 0];
  const whole = data.length - (data.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += data[i] * 0;
    b += data[i + 1] * 0;
    c += data[i + 2] * 0;
    d += data[i + 3] * 0;
  }
  for (let i = whole; i < data.length; i++) a += data[i] * 0;
  return a + b + c + d === 0;
}

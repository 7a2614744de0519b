/** @file The engine as the rest of the program sees it: load segments, run them, keep tensors near them. */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { CancelledError, SessionError } from "../errors.ts";
import type { Need, OnnxModel } from "../graph/onnx.ts";
import { deviceError } from "./device-error.ts";
import { checkFeeds } from "./feeds.ts";
import type {
  Call,
  Calls,
  Device,
  EngineSettings,
  HostTensor,
  ReplyMessage,
  RequestMessage,
  ResidentRef,
} from "./protocol.ts";

/** Where the engine computes, and with how many threads. */
export type EngineOptions = {
  /** "cpu" unless given. */
  readonly device?: Device;
  /** Threads for one operator; the number of cores unless given. */
  readonly threads?: number;
};

/** What an engine of these options computes with. */
export function engineSettings({
  device = "cpu",
  threads = availableParallelism(),
}: EngineOptions = {}): EngineSettings {
  return { device, threads };
}

/** A segment that is ready to run. */
export type Session = { readonly id: number; readonly label: string; readonly model: OnnxModel };

export type Value = HostTensor | ResidentRef;

/** See `Engine.run`. */
export type RunOptions = {
  readonly consume?: readonly ResidentRef[];
  readonly into?: ReadonlyMap<string, ResidentRef>;
  readonly unchecked?: readonly string[];
  readonly signal?: AbortSignal;
};

type Pending = { resolve: (reply: never) => void; reject: (error: Error) => void };

/**
 * Runs sessions on a thread of its own, one request after the other, so that the caller's event loop stays free.
 * The thread is never stopped in the middle of a run: `close` waits for it.
 */
export class Engine {
  readonly settings: EngineSettings;
  private readonly worker: Worker;
  private readonly pending = new Map<number, Pending>();
  private nextTicket = 1;
  private opening: Promise<readonly Need[]> | null = null;
  private closing: Promise<null> | null = null;
  /** Why the thread has ended, once it has. */
  private ended: Error | null = null;

  constructor(options: EngineOptions = {}) {
    this.settings = engineSettings(options);
    this.worker = startWorker(this.settings);
    this.worker.on("message", (message: ReplyMessage) => this.settle(message));
    this.worker.on("error", (error) => this.fail(error));
    this.worker.on("exit", () => this.fail(new SessionError("the engine has been closed")));
    this.worker.unref();
  }

  /** What the device cannot do; opens it where that has not happened. @throws SessionError when it cannot be used */
  async lacks(): Promise<readonly Need[]> {
    const { device } = this.settings;
    if (device === "cpu") return [];
    // Asked for before the load that needs it, so a failure here is told first.
    this.opening ??= this.call("open", null).catch((error: Error) => {
      throw deviceError(device, error);
    });
    return this.opening;
  }

  /**
   * Makes a model ready. Its weights are mapped from files under `weightsFolder`, not read.
   * @throws SessionError when the device cannot be used or the engine refuses the model
   */
  async load(
    label: string,
    model: OnnxModel,
    {
      weightsFolder,
      arena = false,
      prepack = false,
    }: { weightsFolder?: string; arena?: boolean; prepack?: boolean } = {},
  ): Promise<Session> {
    const { bytes, needs } = model;
    const opening = this.lacks();
    const loading = this.call("load", { label, bytes, needs, weightsFolder, arena, prepack });
    const refused = (error: Error) => {
      throw new SessionError(`the engine refused ${label}: ${error.message}`, { cause: error });
    };
    const [{ session }] = await Promise.all([loading.catch(refused), opening]);
    return { id: session, label, model };
  }

  /**
   * Runs a session. Outputs stay with the engine until they are downloaded, consumed or freed.
   * @param consume residents among the feeds that nobody needs afterwards
   * @param into residents of the same shapes that outputs are written over and which become those outputs, unchecked: what they
   *   held is gone. One that is also fed must be read only by operators that its output depends on
   * @param unchecked outputs that may hold a NaN or an infinity, as whoever takes them looks for it
   * @throws SessionError when the feeds do not fit the model, the engine fails or another output holds a NaN or an infinity;
   *   CancelledError before the run when `signal` has fired
   */
  async run(
    { id, label, model }: Session,
    feeds: Readonly<Record<string, Value>>,
    { consume = [], into = new Map(), unchecked = [], signal }: RunOptions = {},
  ): Promise<Record<string, ResidentRef>> {
    if (signal?.aborted) throw new CancelledError(`stopped before ${label}`);
    checkFeeds(label, model, feeds);
    const request = {
      session: id,
      feeds,
      consume: consume.map((tensor) => tensor.id),
      into: Object.fromEntries([...into].map(([name, tensor]) => [name, tensor.id])),
      unchecked,
    };
    const { outputs, nonFinite } = await this.call("run", request).catch((error: Error) => {
      throw new SessionError(`the engine failed in ${label}: ${error.message}`, { cause: error });
    });
    if (nonFinite === null) return outputs;
    await this.free(...Object.values(outputs));
    const cause = model.inHalves
      ? "a value on its way is beyond 65504, where float16 ends (another precision has room for it), or its weights or inputs are damaged"
      : "its weights or inputs are damaged";
    throw new SessionError(
      `${label} is the first segment whose result is not finite (output ${nonFinite} holds NaN or infinity); ${cause}`,
    );
  }

  async upload(tensor: HostTensor): Promise<ResidentRef> {
    const [ref] = await this.call("upload", [tensor]);
    return ref;
  }

  /** Brings a tensor to the host; unless `keep` is set the engine lets go of it. */
  async download(tensor: ResidentRef, { keep = false } = {}): Promise<HostTensor> {
    const [found] = await this.call("download", { ids: [tensor.id], keep });
    return found;
  }

  /** Brings tensors to another engine, all at once; unless `keep` is set this one lets go of them. */
  async hand<K>(
    tensors: ReadonlyMap<K, ResidentRef>,
    to: Engine,
    { keep = false } = {},
  ): Promise<Map<K, ResidentRef>> {
    if (tensors.size === 0) return new Map();
    const ids = [...tensors.values()].map(({ id }) => id);
    const found = await this.call("download", { ids, keep });
    const moved = found.map(({ data }) => data.buffer as ArrayBuffer);
    const refs = await to.call("upload", found, moved);
    return new Map([...tensors.keys()].map((key, i) => [key, refs[i]]));
  }

  async free(...tensors: readonly ResidentRef[]): Promise<void> {
    if (tensors.length > 0) await this.call("free", { ids: tensors.map((tensor) => tensor.id) });
  }

  async unload(session: Session): Promise<void> {
    await this.call("unload", { session: session.id });
  }

  /** Gives memory that no tensor and no session holds back to the system; worth it between stages, not between runs. */
  async trim(): Promise<void> {
    await this.call("trim", null);
  }

  /** Waits for what is running, releases everything and ends the thread. Closing twice is closing once. */
  async close(): Promise<void> {
    if (this.ended === null) this.closing ??= this.call("close", null);
    await this.closing;
  }

  /** @param moved buffers of the request that the caller does without afterwards; others are copied */
  private call<C extends Call>(
    call: C,
    request: Calls[C]["request"],
    moved: readonly ArrayBuffer[] = [],
  ): Promise<Calls[C]["reply"]> {
    if (this.ended !== null) return Promise.reject(this.ended);
    const ticket = this.nextTicket++;
    return new Promise((resolve, reject) => {
      this.pending.set(ticket, { resolve, reject });
      this.worker.ref();
      this.worker.postMessage({ call, ticket, request } as RequestMessage, moved);
    });
  }

  private settle(message: ReplyMessage): void {
    const waiting = this.pending.get(message.ticket);
    this.pending.delete(message.ticket);
    if (this.pending.size === 0) this.worker.unref();
    if ("error" in message)
      waiting?.reject(Object.assign(new SessionError(message.error.message), message.error));
    else waiting?.resolve(message.reply as never);
  }

  private fail(error: Error): void {
    this.ended ??= error;
    for (const { reject } of this.pending.values()) reject(error);
    this.pending.clear();
  }
}

/** In a checkout the worker runs from source, for which Node 20 needs a loader registered inside the thread. */
function startWorker(settings: EngineSettings): Worker {
  const source = import.meta.url.endsWith(".ts");
  const file = new URL(source ? "./worker.ts" : "./worker.js", import.meta.url);
  if (!source) return new Worker(file, { workerData: settings });
  const loader = JSON.stringify(import.meta.resolve("tsx/esm/api"));
  const boot = `import(${loader}).then(({ register }) => { register(); return import(${JSON.stringify(file.href)}); })`;
  return new Worker(boot, { workerData: settings, eval: true });
}

/** @file What the engine's thread and the rest of the program say to each other. */
import type { DType, HostArray } from "../graph/dtype.ts";
import type { Need, OnnxModel } from "../graph/onnx.ts";
import type { Shape } from "../graph/shape.ts";

/** A tensor on the host: elements in row-major order; `data` is a `Float32Array` where `dtype` is "f32", as it is in events. */
export type HostTensor = { readonly dtype: DType; readonly shape: Shape; readonly data: HostArray };

/** A tensor that lives with the engine under `id`. */
export type ResidentRef = { readonly id: number; readonly dtype: DType; readonly shape: Shape };

/** How an engine is set up, once. */
export type EngineSettings = {
  readonly device: Device;
  /** Threads for one operator. */
  readonly threads: number;
};

export const devices = ["cpu", "webgpu", "cuda"] as const;
export type Device = (typeof devices)[number];

/** A model to be made ready, with the folder its weights are mapped from. */
export type LoadRequest = {
  readonly label: string;
  readonly bytes: Uint8Array;
  readonly weightsFolder: string | undefined;
  /** See `OnnxModel.needs`. */
  readonly needs: OnnxModel["needs"];
  /** Whether the session keeps what its operators free until it is unloaded, see `PoolOptions.once`. */
  readonly arena: boolean;
  /** See `OnnxOptions.prepack`. */
  readonly prepack: boolean;
};

export type RunRequest = {
  readonly session: number;
  readonly feeds: Readonly<Record<string, HostTensor | { readonly id: number }>>;
  /** Residents that are dropped as soon as they were fed. */
  readonly consume: readonly number[];
  /** Residents that outputs are written over, by the outputs' names; they become those outputs. */
  readonly into: Readonly<Record<string, number>>;
  /** Outputs that are not looked at. */
  readonly unchecked: readonly string[];
};

export type RunReply = {
  readonly outputs: Readonly<Record<string, ResidentRef>>;
  /** The first output with a tensor of its own, and not of `unchecked`, that holds a NaN or an infinity, if any does. */
  readonly nonFinite: string | null;
  readonly seconds: number;
};

/** Requests by name, with their replies. */
export type Calls = {
  /** Opens the device and says what it cannot do. */
  open: { request: null; reply: readonly Need[] };
  load: { request: LoadRequest; reply: { session: number } };
  run: { request: RunRequest; reply: RunReply };
  unload: { request: { session: number }; reply: null };
  upload: { request: readonly HostTensor[]; reply: readonly ResidentRef[] };
  download: { request: { ids: readonly number[]; keep: boolean }; reply: readonly HostTensor[] };
  free: { request: { ids: readonly number[] }; reply: null };
  trim: { request: null; reply: null };
  close: { request: null; reply: null };
};

export type Call = keyof Calls;

export type RequestMessage = {
  readonly [C in Call]: { readonly call: C; readonly ticket: number; readonly request: Calls[C]["request"] };
}[Call];

export type ReplyMessage =
  | { readonly ticket: number; readonly reply: unknown }
  | { readonly ticket: number; readonly error: { readonly message: string; readonly stack?: string } };

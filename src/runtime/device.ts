/** @file Opens a device and finds out what it can do. */
import * as ort from "onnxruntime-node";
import { attention } from "../graph/functions.ts";
import { type Need, toOnnx } from "../graph/onnx.ts";
import { input, type Tensor } from "../graph/tensor.ts";
import { toOrt } from "./ort-tensor.ts";
import type { Device, HostTensor } from "./protocol.ts";

/** A device that has been opened. */
export type OpenDevice = {
  /** What it cannot do; nodes that need it go to the CPU. */
  readonly lacks: readonly Need[];
  close(): Promise<void>;
};

/** The processor is always open. */
export const cpu: OpenDevice = { lacks: [], close: async () => {} };

type Probe = {
  readonly model: Tensor;
  readonly feed: HostTensor;
  readonly isRight: (result: Float32Array) => boolean;
};

/** More tokens than the engine's kernel for short sequences takes, and no multiple of a tile. */
const TOKENS = 45;
const WIDTH = 16;
const tokens = input("x", [1, TOKENS, WIDTH]);

const probes: Readonly<Record<Need, Probe>> = {
  f16: {
    model: input("x", [1], "f16").cast("f32"),
    feed: { dtype: "f16", shape: [1], data: Uint16Array.of(0x3c00) },
    isRight: ([one]) => one === 1,
  },
  // Equal scores make every result the mean of all values, here of the numbers of the tokens.
  attention: {
    model: attention([tokens.mul(0), tokens.mul(0), tokens], 1),
    feed: {
      dtype: "f32",
      shape: [1, TOKENS, WIDTH],
      data: Float32Array.from({ length: TOKENS * WIDTH }, (_, i) => Math.floor(i / WIDTH)),
    },
    isRight: (means) => means.every((mean) => Math.abs(mean - (TOKENS - 1) / 2) < 1e-3),
  },
};

/**
 * Opens a device by tiny sessions that stay until `close`: the engine lets go of a GPU, and of every kernel compiled
 * for it, with the last session on it.
 * @throws the engine's own error when the device cannot be used
 */
export async function openDevice(device: Exclude<Device, "cpu">): Promise<OpenDevice> {
  const lacks: Need[] = [];
  const sessions: ort.InferenceSession[] = [];
  for (const need of ["f16", "attention"] as const) {
    const { model, feed, isRight } = probes[need];
    const options = { executionProviders: [device, "cpu"], logSeverityLevel: 4 } as const;
    const session = await ort.InferenceSession.create(toOnnx({ y: model }).bytes, options);
    sessions.push(session);
    const passed = await session.run({ x: toOrt(feed) }).then(
      (results) => isRight(Object.values(results)[0].data as Float32Array),
      () => false,
    );
    if (!passed) lacks.push(need);
  }
  const close = async () => {
    for (const session of sessions) await session.release();
  };
  return { lacks, close };
}

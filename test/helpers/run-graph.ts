/** @file Runs a small graph with the real engine. */
import type { OnnxOptions } from "../../src/graph/onnx.ts";
import { toOnnx } from "../../src/graph/onnx.ts";
import { input, type Tensor } from "../../src/graph/tensor.ts";
import type { Engine } from "../../src/runtime/engine.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";

/** Options of the model, and the folder its parameters are mapped from. */
export type RunGraphOptions = OnnxOptions & { readonly weightsFolder?: string };

/** Builds a graph over `feeds`, runs it and brings its result to the host. */
export async function runGraph(
  engine: Engine,
  build: (...inputs: Tensor[]) => Tensor,
  feeds: readonly HostTensor[],
  { weightsFolder, ...options }: RunGraphOptions = {},
): Promise<HostTensor> {
  const y = build(...feeds.map(({ shape, dtype }, i) => input(`x${i}`, shape, dtype)));
  const session = await engine.load("graph under test", toOnnx({ y }, options), { weightsFolder });
  const { y: result } = await engine.run(
    session,
    Object.fromEntries(feeds.map((feed, i) => [`x${i}`, feed])),
  );
  await engine.unload(session);
  return engine.download(result);
}

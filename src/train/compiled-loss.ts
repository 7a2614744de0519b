/** @file Losses and gradients of batches on one engine: a loss graph that has been compiled for it. */
import { gradientsOrNull } from "../autodiff/grad.ts";
import { SessionError } from "../errors.ts";
import { toOnnx } from "../graph/onnx.ts";
import { operationsOf } from "../graph/operations.ts";
import { simplify } from "../graph/rewrite.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { Engine, Session, Value } from "../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import type { LossGraph } from "./loss-graph.ts";
import { SegmentedLoss, type TakeGradients } from "./recompute/segmented-loss.ts";

/** One batch differentiated. */
export type Differentiated = {
  /** By checkpoint key, with the engine. Nobody has looked whether they are finite; the report is. */
  readonly gradients: ReadonlyMap<string, ResidentRef>;
  /** The loss and what else the graph reports. */
  readonly report: Readonly<Record<string, HostTensor>>;
  /** Multiplications and additions that it took. */
  readonly operations: number;
};

/** What a batch feeds: its own inputs, and the weights by checkpoint key. */
export type LossFeeds = {
  readonly feeds: Readonly<Record<string, Value>>;
  readonly weights: ReadonlyMap<string, Value>;
};

/** A loss that an engine is ready to differentiate. */
export type CompiledLoss = {
  readonly differentiate: (batch: LossFeeds, signal: AbortSignal | undefined) => Promise<Differentiated>;
  /** The same with the gradients of each link handed over, see `SegmentedLoss.stream`; only of losses cut into links. */
  readonly stream?: (
    batch: LossFeeds,
    take: TakeGradients,
    signal: AbortSignal | undefined,
  ) => Promise<Omit<Differentiated, "gradients">>;
  readonly close: () => Promise<void>;
};

/** How a loss treats its parameters. */
export type LossOptions = {
  /** Checkpoint keys whose gradients are wanted. */
  readonly trained: ReadonlySet<string>;
  /** What parameters that are fed are computed with, see `LearnerSettings`. */
  readonly storage: "f32" | "bf16";
};

/**
 * Compiles a loss with its gradients.
 * @throws SessionError when it reaches none of the trained parameters
 */
export async function compileLoss(
  engine: Engine,
  graph: LossGraph,
  options: LossOptions,
): Promise<CompiledLoss> {
  return graph.chain === undefined
    ? compileWhole(engine, graph, options)
    : linkByLink(
        new SegmentedLoss(engine, graph.chain, { ...options, isTrained: (key) => options.trained.has(key) }),
      );
}

async function compileWhole(
  engine: Engine,
  graph: LossGraph,
  { trained, storage }: LossOptions,
): Promise<CompiledLoss> {
  const { loss } = simplify({ loss: graph.loss });
  const reached = gradientsByKey(
    loss,
    [...graph.params].filter(([key]) => trained.has(key)),
  );
  if (reached.size === 0)
    throw new SessionError(`${graph.name} reaches none of the ${trained.size} trained parameters`);
  const gradients = new Map([...reached].map(([key, gradient]) => [`gradient/${key}`, gradient]));
  const outputs = simplify({ loss, ...graph.report, ...Object.fromEntries(gradients) });
  const session = await loadLoss(engine, graph, outputs, { label: graph.name, storage });
  const operations = operationsOf(Object.values(outputs));
  const unchecked = [...gradients.keys()];
  return {
    differentiate: async (batch, signal) => {
      const given = await engine.run(session, feedsOf(session, batch), { unchecked, signal });
      const own = new Map([...reached.keys()].map((key) => [key, given[`gradient/${key}`]]));
      const rest = Object.entries(given).filter(([name]) => !name.startsWith("gradient/"));
      return { gradients: own, report: await downloadAll(engine, Object.fromEntries(rest)), operations };
    },
    close: () => engine.unload(session),
  };
}

function linkByLink(loss: SegmentedLoss): CompiledLoss {
  const counted = async <T extends object>(work: () => Promise<T>) => {
    const before = loss.operations;
    const found = await work();
    return { ...found, operations: loss.operations - before };
  };
  return {
    differentiate: (batch, signal) => counted(() => loss.differentiate(batch, { signal })),
    stream: (batch, take, signal) =>
      counted(async () => ({ report: await loss.stream(batch, take, { signal }) })),
    close: () => loss.close(),
  };
}

/** Makes outputs of a loss graph ready, with its frozen parameters mapped. */
export function loadLoss(
  engine: Engine,
  { frozen, arena = true }: LossGraph,
  outputs: Readonly<Record<string, Tensor>>,
  { label, storage }: { readonly label: string; readonly storage: LossOptions["storage"] },
): Promise<Session> {
  const model = toOnnx(outputs, {
    storage: frozen?.storage,
    rounded: () => storage === "bf16",
    direct: true,
  });
  return engine.load(label, model, { weightsFolder: frozen?.folder, arena });
}

/** The batch's own feeds, and for every other parameter among the session's inputs its weight. */
export function feedsOf({ model }: Session, { feeds, weights }: LossFeeds): Record<string, Value> {
  const all: Record<string, Value> = { ...feeds };
  for (const { name } of model.inputs) {
    const weight = weights.get(name);
    if (weight !== undefined && !(name in feeds)) all[name] = weight;
  }
  return all;
}

/** Brings tensors to the host; the engine lets go of them. */
export async function downloadAll(
  engine: Engine,
  refs: Readonly<Record<string, ResidentRef>>,
): Promise<Record<string, HostTensor>> {
  const entries = Object.entries(refs).map(
    async ([name, ref]) => [name, await engine.download(ref)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

function gradientsByKey(loss: Tensor, params: readonly (readonly [string, Tensor])[]): Map<string, Tensor> {
  const found = gradientsOrNull(
    loss,
    params.map(([, param]) => param),
  );
  return new Map(params.flatMap(([key], i) => (found[i] === null ? [] : [[key, found[i]] as const])));
}

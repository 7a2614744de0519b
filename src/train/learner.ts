/** @file Weights that are being trained: gradients of losses, updates, and the state that a run can go on from. */
import { gradientsOrNull } from "../autodiff/grad.ts";
import { SessionError, ShapeError } from "../errors.ts";
import { type ParamStorage, toOnnx } from "../graph/onnx.ts";
import { simplify } from "../graph/rewrite.ts";
import { type Shape, sizeOf } from "../graph/shape.ts";
import { input, type Tensor } from "../graph/tensor.ts";
import type { Engine, Session, Value } from "../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import { pacesAt } from "./optimiser/adamw.ts";
import { type Role, rolesOf, type UpdateSettings, updateGraph } from "./optimiser/update.ts";

/** A loss as a graph. The same object is the same compiled graph: build one for every shape of batch and keep it. */
export type LossGraph = {
  /** Names it in messages. */
  readonly name: string;
  /** The scalar whose gradient is followed. */
  readonly loss: Tensor;
  /** More to be known about each batch: small tensors by name. */
  readonly report: Readonly<Record<string, Tensor>>;
  /** Parameters that the graph declares, by checkpoint key. */
  readonly params: ReadonlyMap<string, Tensor>;
  /** Parameters that lie in files and stay as they are. */
  readonly frozen?: { readonly folder: string; readonly storage: (key: string) => ParamStorage | undefined };
};

/** One batch that goes through the engine at once. */
export type MicroBatch = { readonly graph: LossGraph; readonly feeds: Readonly<Record<string, Value>> };

/** Values of the trained parameters. */
export type Weights = ReadonlyMap<string, { readonly shape: Shape; readonly data: Float32Array }>;

/** What one step took and gave. */
export type StepReport = {
  /** Mean over the micro-batches. */
  readonly loss: number;
  /** Norm of the gradient before clipping. */
  readonly gradientNorm: number;
  /** What each micro-batch reported. */
  readonly reports: readonly Readonly<Record<string, HostTensor>>[];
};

/** Everything that training goes on from, but for the step: a tensor for every role and key, `<role>/<key>`. */
export type TrainingTensors = ReadonlyMap<string, { readonly shape: Shape; readonly data: Float32Array }>;

type Compiled = { readonly session: Session; readonly keys: readonly string[] };

/** Gradients of a batch by key, with its engine or on the host, and what the batch reported. */
type Differentiated = { readonly gradients: Gradients; readonly report: Record<string, HostTensor> };
type Gradients = ReadonlyMap<string, Value>;

/**
 * The engine that holds the state, and others that work on micro-batches beside it. Graphs of many small operators gain
 * most from an engine of one thread for every core, since nothing is cut between threads then.
 */
export type Engines = readonly [Engine, ...Engine[]];

/**
 * Trained weights with their optimiser state, kept near the engine. Losses may differ from step to step, also in which
 * of the weights they reach; what a step's losses do not reach gets a gradient of zero.
 */
export class Learner {
  private readonly engine: Engine;
  private readonly replicas: readonly Engine[];
  private readonly settings: UpdateSettings;
  private readonly shapes: ReadonlyMap<string, Shape>;
  private readonly compiled = new Map<Engine, Map<LossGraph, Promise<Compiled>>>();
  private readonly helpers = new Map<string, Promise<Session>>();
  private state = new Map<string, ResidentRef>();

  private constructor(engines: Engines, settings: UpdateSettings, shapes: ReadonlyMap<string, Shape>) {
    [this.engine, ...this.replicas] = engines;
    this.settings = settings;
    this.shapes = shapes;
  }

  /** Starts from weights, with an optimiser that has seen nothing. */
  static async start(engines: Engines, weights: Weights, settings: UpdateSettings): Promise<Learner> {
    const tensors = new Map<string, { shape: Shape; data: Float32Array }>();
    for (const [key, { shape, data }] of weights)
      for (const role of rolesOf(settings)) {
        const starts = role === "weight" || role === "average";
        tensors.set(`${role}/${key}`, { shape, data: starts ? data : new Float32Array(data.length) });
      }
    return Learner.restore(engines, tensors, settings);
  }

  /**
   * Goes on from what `tensors` gave.
   * @throws ShapeError when a role of a weight is missing
   */
  static async restore(
    engines: Engines,
    tensors: TrainingTensors,
    settings: UpdateSettings,
  ): Promise<Learner> {
    const weights = [...tensors].filter(([name]) => name.startsWith("weight/"));
    const shapes = new Map(weights.map(([name, { shape }]) => [name.slice("weight/".length), shape]));
    const learner = new Learner(engines, settings, shapes);
    for (const name of learner.names()) {
      const tensor = tensors.get(name);
      if (tensor === undefined) throw new ShapeError(`the training state has no ${name}; it is not complete`);
      learner.state.set(name, await engines[0].upload({ dtype: "f32", ...tensor }));
    }
    return learner;
  }

  /** Number of trained values. */
  get size(): number {
    return [...this.shapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  }

  /**
   * One step on the mean of some micro-batches' losses.
   * @param step counted from 1
   * @throws SessionError when a loss or gradient is not finite; the weights are then as they were before the step
   */
  async step(
    step: number,
    rate: number,
    batches: readonly MicroBatch[],
    { averageDecay = 0.999, signal }: { averageDecay?: number; signal?: AbortSignal } = {},
  ): Promise<StepReport> {
    const found = await this.differentiateAll(batches, signal);
    const reports = found.map(({ report }) => report);
    let sum: Gradients | null = null;
    for (const { gradients } of found) sum = sum === null ? gradients : await this.accumulate(sum, gradients);
    const gradientNorm = await this.update(sum!, step, rate, averageDecay, 1 / batches.length);
    const loss = reports.reduce((total, { loss }) => total + first(loss), 0) / batches.length;
    return { loss, gradientNorm, reports };
  }

  /** The loss and reports of a batch, without learning from it. */
  async evaluate(batch: MicroBatch): Promise<Readonly<Record<string, HostTensor>>> {
    const model = `evaluation of ${batch.graph.name}`;
    const session = await this.helper(model, () => ({ loss: batch.graph.loss, ...batch.graph.report }));
    return downloadAll(this.engine, await this.engine.run(session, this.feedsOf(session, batch)));
  }

  /** References to the current weights by key, to be fed to other graphs; valid until the next step. */
  weights(): ReadonlyMap<string, ResidentRef> {
    return new Map([...this.shapes.keys()].map((key) => [key, this.state.get(`weight/${key}`)!]));
  }

  /** Copies of the weights, or of their moving average. */
  async read(role: Extract<Role, "weight" | "average"> = "weight"): Promise<Weights> {
    const tensors = await this.tensors([role]);
    return new Map([...tensors].map(([name, tensor]) => [name.slice(role.length + 1), tensor]));
  }

  /** Copies of the whole state. */
  async tensors(wanted: readonly Role[] = rolesOf(this.settings)): Promise<TrainingTensors> {
    const tensors = new Map<string, { shape: Shape; data: Float32Array }>();
    for (const name of this.names(wanted)) {
      const { shape, data } = await this.engine.download(this.state.get(name)!, { keep: true });
      tensors.set(name, { shape, data: data as Float32Array });
    }
    return tensors;
  }

  /** Gives sessions and tensors back to the engine. */
  async close(): Promise<void> {
    for (const [engine, graphs] of this.compiled)
      for (const compiled of graphs.values()) await engine.unload((await compiled).session);
    for (const session of this.helpers.values()) await this.engine.unload(await session);
    await this.engine.free(...this.state.values());
    this.state.clear();
  }

  private names(wanted: readonly Role[] = rolesOf(this.settings)): string[] {
    return [...this.shapes.keys()].flatMap((key) => wanted.map((role) => `${role}/${key}`));
  }

  /** Every engine takes every n-th batch; results come in the order of the batches, whichever is done first. */
  private async differentiateAll(
    batches: readonly MicroBatch[],
    signal: AbortSignal | undefined,
  ): Promise<Differentiated[]> {
    const found: Differentiated[] = [];
    const engines = [this.engine, ...this.replicas].slice(0, batches.length);
    const weights = engines.length > 1 ? await this.weightsOnHost() : {};
    const work = engines.map(async (engine, first) => {
      for (let i = first; i < batches.length; i += engines.length)
        found[i] =
          engine === this.engine
            ? await this.differentiate(batches[i], signal)
            : await this.differentiateElsewhere(engine, batches[i], weights, signal);
    });
    await Promise.all(work);
    return found;
  }

  private async differentiate(batch: MicroBatch, signal: AbortSignal | undefined): Promise<Differentiated> {
    const { session, keys } = await this.compile(this.engine, batch.graph);
    const outputs = await this.engine.run(session, this.feedsOf(session, batch), { signal });
    const { gradients, rest } = splitOutputs(outputs, keys);
    return { gradients, report: await downloadAll(this.engine, rest) };
  }

  private async differentiateElsewhere(
    engine: Engine,
    { graph, feeds }: MicroBatch,
    weights: Readonly<Record<string, HostTensor>>,
    signal: AbortSignal | undefined,
  ): Promise<Differentiated> {
    const { session, keys } = await this.compile(engine, graph);
    const taken = session.model.inputs.filter(({ name }) => name in weights && !(name in feeds));
    const fed = { ...feeds, ...Object.fromEntries(taken.map(({ name }) => [name, weights[name]])) };
    const outputs = await downloadAll(engine, await engine.run(session, fed, { signal }));
    const { gradients, rest } = splitOutputs(outputs, keys);
    return { gradients, report: rest };
  }

  private async weightsOnHost(): Promise<Record<string, HostTensor>> {
    const entries = [...this.weights()].map(
      async ([key, ref]) => [key, await this.engine.download(ref, { keep: true })] as const,
    );
    return Object.fromEntries(await Promise.all(entries));
  }

  private async accumulate(sum: Gradients, gradients: Gradients): Promise<Gradients> {
    const shared = [...gradients.keys()].filter((key) => sum.has(key));
    const session = await this.helper(`sum of ${shared.join()}`, () =>
      Object.fromEntries(
        shared.map((key) => [key, this.parameter("a/", key).add(this.parameter("b/", key))]),
      ),
    );
    const feeds = shared.flatMap((key) => [
      [`a/${key}`, sum.get(key)!] as const,
      [`b/${key}`, gradients.get(key)!] as const,
    ]);
    const consume = residents(feeds.map(([, value]) => value));
    const added = await this.engine.run(session, Object.fromEntries(feeds), { consume });
    return new Map([...sum, ...gradients, ...Object.entries(added)]);
  }

  /** Updates the state and returns the norm of the gradient. */
  private async update(
    gradients: Gradients,
    step: number,
    rate: number,
    averageDecay: number,
    share: number,
  ): Promise<number> {
    const session = await this.helper("update", () => updateGraph(this.shapes, this.settings));
    const scalars = { ...pacesAt(step, rate, this.settings.adamW), averageDecay, share };
    const feeds: Record<string, Value> = Object.fromEntries(this.state);
    for (const { name, shape } of session.model.inputs)
      if (name in scalars) feeds[name] = scalar(scalars[name as keyof typeof scalars]);
      else if (name.startsWith("gradient/"))
        feeds[name] = gradients.get(name.slice("gradient/".length)) ?? zeros(shape);
    const consume = [...this.state.values(), ...residents([...gradients.values()])];
    const { norm, ...state } = await this.engine.run(session, feeds, { consume });
    this.state = new Map(Object.entries(state));
    return first(await this.engine.download(norm));
  }

  private compile(engine: Engine, graph: LossGraph): Promise<Compiled> {
    const graphs = this.compiled.get(engine) ?? new Map<LossGraph, Promise<Compiled>>();
    this.compiled.set(engine, graphs);
    const compiling = graphs.get(graph) ?? this.compileNow(engine, graph);
    graphs.set(graph, compiling);
    return compiling;
  }

  private async compileNow(engine: Engine, graph: LossGraph): Promise<Compiled> {
    const { loss } = simplify({ loss: graph.loss });
    const reached = gradientsByKey(
      loss,
      [...graph.params].filter(([key]) => this.shapes.has(key)),
    );
    if (reached.size === 0)
      throw new SessionError(`${graph.name} reaches none of the ${this.shapes.size} trained parameters`);
    const gradients = [...reached].map(([key, gradient]) => [`gradient/${key}`, gradient]);
    const outputs = simplify({ loss, ...graph.report, ...Object.fromEntries(gradients) });
    const model = toOnnx(outputs, { storage: graph.frozen?.storage });
    const options = { weightsFolder: graph.frozen?.folder, arena: true };
    const session = await engine.load(graph.name, model, options);
    return { session, keys: [...reached.keys()] };
  }

  private helper(name: string, outputs: () => Record<string, Tensor>): Promise<Session> {
    const known = this.helpers.get(name);
    if (known !== undefined) return known;
    const loading = this.engine.load(name, toOnnx(outputs()), { arena: true });
    this.helpers.set(name, loading);
    return loading;
  }

  private parameter(prefix: string, key: string): Tensor {
    return input(prefix + key, this.shapes.get(key)!);
  }

  /** The batch's own feeds, and for every parameter among the model's inputs the current weight. */
  private feedsOf({ model }: Session, { feeds }: MicroBatch): Record<string, Value> {
    const all: Record<string, Value> = { ...feeds };
    for (const { name } of model.inputs) {
      const weight = this.state.get(`weight/${name}`);
      if (weight !== undefined && !(name in feeds)) all[name] = weight;
    }
    return all;
  }
}

function gradientsByKey(loss: Tensor, params: readonly (readonly [string, Tensor])[]): Map<string, Tensor> {
  const found = gradientsOrNull(
    loss,
    params.map(([, param]) => param),
  );
  return new Map(params.flatMap(([key], i) => (found[i] === null ? [] : [[key, found[i]] as const])));
}

function splitOutputs<V extends Value>(outputs: Readonly<Record<string, V>>, keys: readonly string[]) {
  const gradients = new Map(keys.map((key) => [key, outputs[`gradient/${key}`]]));
  const rest = Object.entries(outputs).filter(([name]) => !name.startsWith("gradient/"));
  return { gradients, rest: Object.fromEntries(rest) as Record<string, V> };
}

async function downloadAll(
  engine: Engine,
  refs: Readonly<Record<string, ResidentRef>>,
): Promise<Record<string, HostTensor>> {
  const entries = Object.entries(refs).map(
    async ([name, ref]) => [name, await engine.download(ref)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

function residents(values: readonly Value[]): ResidentRef[] {
  return values.filter((value) => "id" in value);
}

function scalar(value: number): HostTensor {
  return { dtype: "f32", shape: [], data: Float32Array.of(value) };
}

function first({ data }: HostTensor): number {
  return Number(data[0]);
}

function zeros(shape: Shape): HostTensor {
  return { dtype: "f32", shape, data: new Float32Array(sizeOf(shape)) };
}

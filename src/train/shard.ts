/** @file One engine of a learner: the weights that it updates with their optimiser state, and copies of all others. */
import { SessionError } from "../errors.ts";
import { toOnnx } from "../graph/onnx.ts";
import type { Shape } from "../graph/shape.ts";
import { input, type Tensor } from "../graph/tensor.ts";
import type { Engine, Session } from "../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import { type CompiledLoss, compileLoss, downloadAll, feedsOf, loadLoss } from "./compiled-loss.ts";
import type { LossGraph, MicroBatch } from "./loss-graph.ts";
import type { Role, UpdateSettings } from "./optimiser/update.ts";
import { type UpdateScalars, Updates } from "./optimiser/updates.ts";

/** What a micro-batch reported, with its loss. */
export type Report = Readonly<Record<string, HostTensor>>;

/** Gradients by key, near an engine. */
export type Gradients = ReadonlyMap<string, ResidentRef>;

/** A batch that has been learnt from, with the sum of the squares of its gradients. */
export type Learnt = { readonly report: Report; readonly squares: number; readonly operations: number };

/** How a learner updates weights, and which losses see. */
export type LearnerSettings = UpdateSettings & {
  /**
   * "bf16": losses compute with weights rounded to bfloat16, as a checkpoint in that format will have them. The state
   * keeps every weight in float32, which updates add to, and gradients are those at the rounded weights.
   */
  readonly storage?: "f32" | "bf16";
};

/** Compiled losses that an engine keeps; packed rows can have more layouts than memory has room for. */
const MOST_GRAPHS = 32;

/** An engine with its share of the state. */
export class Shard {
  readonly engine: Engine;
  /** Shapes of the weights that are updated here. */
  readonly shapes: ReadonlyMap<string, Shape>;
  private readonly settings: LearnerSettings;
  private readonly trained: ReadonlySet<string>;
  private readonly compiled = new Map<LossGraph, Promise<CompiledLoss>>();
  private readonly helpers = new Map<string, Promise<Session>>();
  private readonly updates: Updates;
  private readonly state = new Map<string, ResidentRef>();
  /** Whether some weights are a step further than others. */
  private isTorn = false;
  private copies: ReadonlyMap<string, ResidentRef> = new Map();

  /** @param trained keys of everything that is updated, by this engine or another */
  constructor(
    engine: Engine,
    shapes: ReadonlyMap<string, Shape>,
    settings: LearnerSettings,
    trained: ReadonlySet<string>,
  ) {
    this.engine = engine;
    this.shapes = shapes;
    this.settings = settings;
    this.trained = trained;
    this.updates = new Updates(engine, settings);
  }

  /** Takes the value of one role of one weight that is updated here. */
  async upload(role: Role, key: string, data: Float32Array): Promise<void> {
    const tensor: HostTensor = { dtype: "f32", shape: this.shapes.get(key)!, data };
    this.state.set(`${role}/${key}`, await this.engine.upload(tensor));
  }

  /** A copy of one role of one weight that is updated here. @throws SessionError where a step has broken off in its updates */
  async download(role: Role, key: string): Promise<Float32Array> {
    const { data } = await this.engine.download(this.whole().get(`${role}/${key}`)!, { keep: true });
    return data as Float32Array;
  }

  /** The weights that are updated here. */
  weights(): Map<string, ResidentRef> {
    return this.valuesOf("weight");
  }

  /** Their moving averages. */
  averages(): Map<string, ResidentRef> {
    return this.valuesOf("average");
  }

  /** A weight, wherever it is updated. */
  weight(key: string): ResidentRef | undefined {
    return this.whole().get(`weight/${key}`) ?? this.copies.get(key);
  }

  /** Takes new copies of the weights that other engines update. */
  async follow(copies: ReadonlyMap<string, ResidentRef>): Promise<void> {
    const old = [...this.copies.values()];
    this.copies = copies;
    await this.engine.free(...old);
  }

  /** Sums of the gradients of some batches, worked on one after the other, and what each reported. */
  async differentiate(
    batches: readonly MicroBatch[],
    signal: AbortSignal | undefined,
  ): Promise<{ gradients: Gradients; reports: Report[]; operations: number }> {
    let gradients: Gradients = new Map();
    let operations = 0;
    const reports: Report[] = [];
    const weights = this.allWeights();
    for (const { graph, feeds } of batches) {
      const compiled = await this.compile(graph);
      const found = await compiled.differentiate({ feeds, weights }, signal);
      reports.push(found.report);
      operations += found.operations;
      gradients =
        gradients.size === 0 ? found.gradients : (await this.sum([gradients, found.gradients])).gradients;
    }
    return { gradients, reports, operations };
  }

  /** The loss and reports of a batch, without learning from it. @param weights all that are trained, near this engine */
  async evaluate({ graph, feeds }: MicroBatch, weights = this.allWeights()): Promise<Report> {
    const label = `evaluation of ${graph.name}`;
    const session = await this.helper(label, () =>
      loadLoss(this.engine, graph, { loss: graph.loss, ...graph.report }, { label, storage: this.storage }),
    );
    return downloadAll(this.engine, await this.engine.run(session, feedsOf(session, { feeds, weights })));
  }

  /**
   * Learns from a batch whose loss is cut into links: weights of a link are updated before the gradients of the link
   * before it are known, so that only one link's are alive. Once an update has begun it goes on to the end, whatever
   * `signal` says.
   * @throws SessionError when a gradient is not finite; where weights have been updated before, none can be read any more
   */
  async learnByLink(
    { graph, feeds }: MicroBatch,
    { step, scalars, signal }: { step: number; scalars: UpdateScalars; signal: AbortSignal | undefined },
  ): Promise<Learnt> {
    const compiled = await this.compile(graph);
    const left = new Set(this.shapes.keys());
    let [squares, updates] = [0, 0];
    const take = async (gradients: Gradients) => {
      const sum = await this.sum([gradients]);
      if (!Number.isFinite(sum.squares))
        throw notFinite(step, sum.squares, await this.firstNotFinite(gradients));
      squares += sum.squares;
      this.isTorn ||= gradients.size > 0;
      updates += await this.update(gradients, scalars, [...gradients.keys()]);
      for (const key of gradients.keys()) left.delete(key);
    };
    const { report, operations } = await compiled.stream!(
      { feeds, weights: this.allWeights() },
      take,
      signal,
    );
    updates += await this.update(new Map(), scalars, [...left]);
    this.isTorn = false;
    return { report, squares, operations: operations + updates };
  }

  /** Adds gradients up, which it uses up, and gives the sum of the squares of what comes out, finite or not. */
  async sum(parts: readonly Gradients[]): Promise<{ gradients: Gradients; squares: number }> {
    const keys = [...new Set(parts.flatMap((part) => [...part.keys()]))];
    if (keys.length === 0) return { gradients: new Map(), squares: 0 };
    const terms = keys.map((key) => parts.flatMap((part) => part.get(key) ?? []));
    const id = `sum of ${JSON.stringify(terms.map(([{ shape }, ...more]) => [shape, more.length]))}`;
    const session = await this.helper(id, () => this.load("sum of gradients", sumGraph(terms)));
    const feeds = terms.flatMap((own, i) => own.map((term, j) => [`${i}/${j}`, term] as const));
    const into = new Map(terms.flatMap(([first, ...more], i) => (more.length > 0 ? [[`${i}`, first]] : [])));
    const consume = terms.flatMap((own) => own.slice(1));
    const options = { consume, into, unchecked: ["squares"] };
    const { squares } = await this.engine.run(session, Object.fromEntries(feeds), options);
    const gradients = new Map(keys.map((key, i) => [key, terms[i][0]]));
    return { gradients, squares: Number((await this.engine.download(squares)).data[0]) };
  }

  /** The first gradient that holds a NaN or an infinity, if any does; uses them up. */
  async firstNotFinite(gradients: Gradients): Promise<string | undefined> {
    let first: string | undefined;
    for (const [key, gradient] of gradients) {
      const { data } = await this.engine.download(gradient);
      if (first === undefined && !(data as Float32Array).every(Number.isFinite)) first = key;
    }
    return first;
  }

  /**
   * Updates weights of this engine with gradients, which it uses up; gives the operations that it took.
   * @param scalars what the update graph takes beside tensors by role and key; `share` scales the gradients
   * @param keys of the weights; all unless given
   */
  update(
    gradients: Gradients,
    scalars: UpdateScalars,
    keys: Iterable<string> = this.shapes.keys(),
  ): Promise<number> {
    const shapes = new Map(Array.from(keys, (key) => [key, this.shapes.get(key)!]));
    return this.updates.run(shapes, { state: this.state, gradients, scalars });
  }

  /** Gives sessions and tensors back to the engine. */
  async close(): Promise<void> {
    for (const compiled of this.compiled.values()) await (await compiled).close();
    for (const session of this.helpers.values()) await this.engine.unload(await session);
    await this.updates.close();
    await this.engine.free(...this.state.values(), ...this.copies.values());
    this.state.clear();
    this.copies = new Map();
  }

  private valuesOf(role: Role): Map<string, ResidentRef> {
    return new Map([...this.shapes.keys()].map((key) => [key, this.whole().get(`${role}/${key}`)!]));
  }

  private whole(): ReadonlyMap<string, ResidentRef> {
    if (this.isTorn)
      throw new SessionError(
        "a step broke off with some of its weights updated and others not, so that they are no step's; " +
          "go on from what was saved before it",
      );
    return this.state;
  }

  private allWeights(): Map<string, ResidentRef> {
    return new Map([...this.trained].map((key) => [key, this.weight(key)!]));
  }

  private get storage(): "f32" | "bf16" {
    return this.settings.storage ?? "f32";
  }

  /** Batches are worked on one after the other, so that the graph unused for longest is not in use. */
  private async compile(graph: LossGraph): Promise<CompiledLoss> {
    const { trained, storage } = this;
    const compiling = this.compiled.get(graph) ?? compileLoss(this.engine, graph, { trained, storage });
    this.compiled.delete(graph);
    this.compiled.set(graph, compiling);
    compiling.catch(() => this.compiled.delete(graph));
    const [[oldest, unused]] = this.compiled;
    if (this.compiled.size > MOST_GRAPHS) {
      this.compiled.delete(oldest);
      await (await unused).close();
    }
    return compiling;
  }

  private helper(id: string, load: () => Promise<Session>): Promise<Session> {
    const known = this.helpers.get(id);
    if (known !== undefined) return known;
    const loading = load();
    this.helpers.set(id, loading);
    return loading;
  }

  private load(label: string, outputs: Record<string, Tensor>): Promise<Session> {
    return this.engine.load(label, toOnnx(outputs, { direct: true }), { arena: true });
  }
}

/** Roles and keys of everything that a learner of weights of these shapes keeps. */
export function namesOf(
  shapes: ReadonlyMap<string, Shape>,
  wanted: readonly Role[],
): { readonly role: Role; readonly key: string }[] {
  return [...shapes.keys()].flatMap((key) => wanted.map((role) => ({ role, key })));
}

/** Why a step goes no further. @param key of the first gradient that is not finite, where it is not the norm alone */
export function notFinite(step: number, squares: number, key: string | undefined): SessionError {
  const why = key === undefined ? `the sum of its squares is ${squares}` : `${key} has a NaN or an infinity`;
  return new SessionError(`the gradient of step ${step} is not finite: ${why}`);
}

/** Sums of what has several terms, by its place, and the squares of everything. */
function sumGraph(terms: readonly (readonly ResidentRef[])[]): Record<string, Tensor> {
  const totals = terms.map((own, i) =>
    own.map(({ shape }, j) => input(`${i}/${j}`, shape)).reduce((a, b) => a.add(b)),
  );
  const squares = totals.map((total) => total.mul(total).sum(total.shape.map((_, axis) => axis)));
  const sums = totals.flatMap((total, i) => (terms[i].length > 1 ? [[`${i}`, total] as const] : []));
  return { squares: squares.reduce((a, b) => a.add(b)), ...Object.fromEntries(sums) };
}

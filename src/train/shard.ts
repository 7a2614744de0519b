/** @file One engine of a learner: the weights that it updates with their optimiser state, and copies of all others. */
import { toOnnx } from "../graph/onnx.ts";
import { operationsOf } from "../graph/operations.ts";
import type { Shape } from "../graph/shape.ts";
import { input, type Tensor } from "../graph/tensor.ts";
import type { Engine, Session } from "../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import { type CompiledLoss, compileLoss, downloadAll, feedsOf, loadLoss } from "./compiled-loss.ts";
import type { LossGraph, MicroBatch } from "./loss-graph.ts";
import { runUpdate, type UpdateScalars } from "./optimiser/run-update.ts";
import { type Role, type UpdateSettings, updateGraph } from "./optimiser/update.ts";

/** What a micro-batch reported, with its loss. */
export type Report = Readonly<Record<string, HostTensor>>;

/** Gradients by key, near an engine. */
export type Gradients = ReadonlyMap<string, ResidentRef>;

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
  private state = new Map<string, ResidentRef>();
  private updateOperations = 0;
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
  }

  /** Takes the value of one role of one weight that is updated here. */
  async upload(role: Role, key: string, data: Float32Array): Promise<void> {
    const tensor: HostTensor = { dtype: "f32", shape: this.shapes.get(key)!, data };
    this.state.set(`${role}/${key}`, await this.engine.upload(tensor));
  }

  /** A copy of one role of one weight that is updated here. */
  async download(role: Role, key: string): Promise<Float32Array> {
    const { data } = await this.engine.download(this.state.get(`${role}/${key}`)!, { keep: true });
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
    return this.state.get(`weight/${key}`) ?? this.copies.get(key);
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

  /** Adds gradients up, which it uses up, and gives the sum of the squares of what comes out. */
  async sum(parts: readonly Gradients[]): Promise<{ gradients: Gradients; squares: number }> {
    const keys = [...new Set(parts.flatMap((part) => [...part.keys()]))];
    if (keys.length === 0) return { gradients: new Map(), squares: 0 };
    const fed = keys.map((key) => ({ key, terms: parts.flatMap((part) => part.get(key) ?? []) }));
    const name = `sum of ${fed.map(({ key, terms }) => `${terms.length} ${key}`).join()}`;
    const session = await this.helper(name, () => this.load("sum of gradients", sumGraph(fed)));
    const feeds = fed.flatMap(({ key, terms }) => terms.map((term, i) => [`${i}/${key}`, term] as const));
    const gradients = new Map(fed.map(({ key, terms }) => [key, terms[0]]));
    const into = new Map(fed.flatMap(({ key, terms }) => (terms.length > 1 ? [[key, terms[0]]] : [])));
    const consume = fed.flatMap(({ terms }) => terms.slice(1));
    const { squares } = await this.engine.run(session, Object.fromEntries(feeds), { consume, into });
    return { gradients, squares: Number((await this.engine.download(squares)).data[0]) };
  }

  /**
   * Updates the weights of this engine with gradients, which it uses up; gives the operations that it took.
   * @param scalars what the update graph takes beside tensors by role and key; `share` scales the gradients
   */
  async update(gradients: Gradients, scalars: UpdateScalars): Promise<number> {
    if (this.shapes.size === 0) return 0;
    const session = await this.helper("update", () => {
      // Clipping needs the gradients of all engines, so that `share` has it in it, and the norm is known.
      const { norm: _, ...outputs } = updateGraph(this.shapes, { ...this.settings, clip: null });
      this.updateOperations = operationsOf(Object.values(outputs));
      return this.load("update", outputs);
    });
    const after = await runUpdate(this.engine, session, { state: this.state, gradients, scalars });
    this.state = new Map(Object.entries(after));
    return this.updateOperations;
  }

  /** Gives sessions and tensors back to the engine. */
  async close(): Promise<void> {
    for (const compiled of this.compiled.values()) await (await compiled).close();
    for (const session of this.helpers.values()) await this.engine.unload(await session);
    await this.engine.free(...this.state.values(), ...this.copies.values());
    this.state.clear();
    this.copies = new Map();
  }

  private valuesOf(role: Role): Map<string, ResidentRef> {
    return new Map([...this.shapes.keys()].map((key) => [key, this.state.get(`${role}/${key}`)!]));
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

/** Sums of what has several terms, and the squares of everything. */
function sumGraph(
  fed: readonly { readonly key: string; readonly terms: readonly ResidentRef[] }[],
): Record<string, Tensor> {
  const totals = fed.map(({ key, terms }) => ({
    key,
    isSum: terms.length > 1,
    total: terms.map(({ shape }, i) => input(`${i}/${key}`, shape)).reduce((a, b) => a.add(b)),
  }));
  const squares = totals.map(({ total }) => total.mul(total).sum(total.shape.map((_, axis) => axis)));
  const sums = totals.filter(({ isSum }) => isSum).map(({ key, total }) => [key, total]);
  return { squares: squares.reduce((a, b) => a.add(b)), ...Object.fromEntries(sums) };
}

/** @file One engine of a learner: the weights that it updates with their optimiser state, and copies of all others. */
import { gradientsOrNull } from "../autodiff/grad.ts";
import { SessionError } from "../errors.ts";
import { toOnnx } from "../graph/onnx.ts";
import { simplify } from "../graph/rewrite.ts";
import { type Shape, sizeOf } from "../graph/shape.ts";
import { input, type Tensor } from "../graph/tensor.ts";
import type { Engine, Session, Value } from "../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import type { LossGraph, MicroBatch } from "./loss-graph.ts";
import { type Role, type UpdateSettings, updateGraph } from "./optimiser/update.ts";

/** What a micro-batch reported, with its loss. */
export type Report = Readonly<Record<string, HostTensor>>;

/** Gradients by key, near an engine. */
export type Gradients = ReadonlyMap<string, ResidentRef>;

type Compiled = { readonly session: Session; readonly keys: readonly string[] };

/** An engine with its share of the state. */
export class Shard {
  readonly engine: Engine;
  /** Shapes of the weights that are updated here. */
  readonly shapes: ReadonlyMap<string, Shape>;
  private readonly settings: UpdateSettings;
  private readonly trained: ReadonlySet<string>;
  private readonly compiled = new Map<LossGraph, Promise<Compiled>>();
  private readonly helpers = new Map<string, Promise<Session>>();
  private state = new Map<string, ResidentRef>();
  private copies: ReadonlyMap<string, ResidentRef> = new Map();

  /** @param trained keys of everything that is updated, by this engine or another */
  constructor(
    engine: Engine,
    shapes: ReadonlyMap<string, Shape>,
    settings: UpdateSettings,
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
    return new Map([...this.shapes.keys()].map((key) => [key, this.state.get(`weight/${key}`)!]));
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
  ): Promise<{ gradients: Gradients; reports: Report[] }> {
    let gradients: Gradients = new Map();
    const reports: Report[] = [];
    for (const batch of batches) {
      const { session, keys } = await this.compile(batch.graph);
      const outputs = await this.engine.run(session, this.feedsOf(session, batch), { signal });
      const found = new Map(keys.map((key) => [key, outputs[`gradient/${key}`]]));
      const rest = Object.entries(outputs).filter(([name]) => !name.startsWith("gradient/"));
      reports.push(await downloadAll(this.engine, Object.fromEntries(rest)));
      gradients = gradients.size === 0 ? found : (await this.sum([gradients, found])).gradients;
    }
    return { gradients, reports };
  }

  /** The loss and reports of a batch, without learning from it. */
  async evaluate(batch: MicroBatch): Promise<Report> {
    const model = `evaluation of ${batch.graph.name}`;
    const session = await this.helper(model, () => ({ loss: batch.graph.loss, ...batch.graph.report }));
    return downloadAll(this.engine, await this.engine.run(session, this.feedsOf(session, batch)));
  }

  /** Adds gradients up, which it uses up, and gives the sum of the squares of what comes out. */
  async sum(parts: readonly Gradients[]): Promise<{ gradients: Gradients; squares: number }> {
    const keys = [...new Set(parts.flatMap((part) => [...part.keys()]))];
    if (keys.length === 0) return { gradients: new Map(), squares: 0 };
    const fed = keys.map((key) => ({ key, terms: parts.flatMap((part) => part.get(key) ?? []) }));
    const name = `sum of ${fed.map(({ key, terms }) => `${terms.length} ${key}`).join()}`;
    const session = await this.helper(name, () => sumGraph(fed));
    const added = fed.filter(({ terms }) => terms.length > 1);
    const feeds = fed.flatMap(({ key, terms }) => terms.map((term, i) => [`${i}/${key}`, term] as const));
    const consume = added.flatMap(({ terms }) => terms);
    const { squares, ...sums } = await this.engine.run(session, Object.fromEntries(feeds), { consume });
    const gradients = new Map(fed.map(({ key, terms }) => [key, sums[key] ?? terms[0]]));
    return { gradients, squares: Number((await this.engine.download(squares)).data[0]) };
  }

  /**
   * Updates the weights of this engine with gradients, which it uses up.
   * @param scalars what the update graph takes beside tensors by role and key; `share` scales the gradients
   */
  async update(gradients: Gradients, scalars: Readonly<Record<string, number>>): Promise<void> {
    if (this.shapes.size === 0) return;
    const session = await this.helper("update", () => {
      // Clipping needs the gradients of all engines, so that `share` has it in it, and the norm is known.
      const { norm: _, ...outputs } = updateGraph(this.shapes, { ...this.settings, clip: null });
      return outputs;
    });
    const feeds: Record<string, Value> = Object.fromEntries(this.state);
    for (const { name, shape } of session.model.inputs)
      if (name in scalars) feeds[name] = floats([], Float32Array.of(scalars[name]));
      else if (name.startsWith("gradient/"))
        feeds[name] =
          gradients.get(name.slice("gradient/".length)) ?? floats(shape, new Float32Array(sizeOf(shape)));
    const consume = [...this.state.values(), ...gradients.values()];
    this.state = new Map(Object.entries(await this.engine.run(session, feeds, { consume })));
  }

  /** Gives sessions and tensors back to the engine. */
  async close(): Promise<void> {
    for (const compiled of this.compiled.values()) await this.engine.unload((await compiled).session);
    for (const session of this.helpers.values()) await this.engine.unload(await session);
    await this.engine.free(...this.state.values(), ...this.copies.values());
    this.state.clear();
    this.copies = new Map();
  }

  private compile(graph: LossGraph): Promise<Compiled> {
    const compiling = this.compiled.get(graph) ?? this.compileNow(graph);
    this.compiled.set(graph, compiling);
    compiling.catch(() => this.compiled.delete(graph));
    return compiling;
  }

  private async compileNow(graph: LossGraph): Promise<Compiled> {
    const { loss } = simplify({ loss: graph.loss });
    const trained = [...graph.params].filter(([key]) => this.trained.has(key));
    const reached = gradientsByKey(loss, trained);
    if (reached.size === 0)
      throw new SessionError(`${graph.name} reaches none of the ${this.trained.size} trained parameters`);
    const gradients = [...reached].map(([key, gradient]) => [`gradient/${key}`, gradient]);
    const outputs = simplify({ loss, ...graph.report, ...Object.fromEntries(gradients) });
    const model = toOnnx(outputs, { storage: graph.frozen?.storage });
    const options = { weightsFolder: graph.frozen?.folder, arena: true };
    const session = await this.engine.load(graph.name, model, options);
    return { session, keys: [...reached.keys()] };
  }

  private helper(name: string, outputs: () => Record<string, Tensor>): Promise<Session> {
    const known = this.helpers.get(name);
    if (known !== undefined) return known;
    const loading = this.engine.load(name, toOnnx(outputs()), { arena: true });
    this.helpers.set(name, loading);
    return loading;
  }

  /** The batch's own feeds, and for every parameter among the model's inputs the current weight. */
  private feedsOf({ model }: Session, { feeds }: MicroBatch): Record<string, Value> {
    const all: Record<string, Value> = { ...feeds };
    for (const { name } of model.inputs) {
      const weight = this.weight(name);
      if (weight !== undefined && !(name in feeds)) all[name] = weight;
    }
    return all;
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

function gradientsByKey(loss: Tensor, params: readonly (readonly [string, Tensor])[]): Map<string, Tensor> {
  const found = gradientsOrNull(
    loss,
    params.map(([, param]) => param),
  );
  return new Map(params.flatMap(([key], i) => (found[i] === null ? [] : [[key, found[i]] as const])));
}

async function downloadAll(engine: Engine, refs: Readonly<Record<string, ResidentRef>>): Promise<Report> {
  const entries = Object.entries(refs).map(
    async ([name, ref]) => [name, await engine.download(ref)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

function floats(shape: Shape, data: Float32Array): HostTensor {
  return { dtype: "f32", shape, data };
}

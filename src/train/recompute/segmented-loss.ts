/** @file Differentiates a loss link by link: forward keeps what passes between links, backward computes the rest again. */
import { toOnnx } from "../../graph/onnx.ts";
import { operationsOf } from "../../graph/operations.ts";
import type { Segment } from "../../graph/segment.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { Engine, Session, Value } from "../../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../../runtime/protocol.ts";
import { type BackwardCall, backwardGraph, PREFIX } from "./backward-graph.ts";
import { type Link, type SegmentedGraph, sourcesOf } from "./segmented-graph.ts";

/**
 * Gets the gradients of one link's parameters by checkpoint key. Whoever takes them frees them, and looks whether they
 * are finite.
 */
export type TakeGradients = (gradients: ReadonlyMap<string, ResidentRef>) => void | Promise<void>;

/** One batch: what is fed beside the weights, and the weights by checkpoint key. */
export type SegmentedBatch = {
  readonly feeds: Readonly<Record<string, Value>>;
  readonly weights: ReadonlyMap<string, Value>;
};

/** What is differentiated, and how. */
export type SegmentedOptions = {
  /** Says of a checkpoint key whether its gradient is wanted. */
  readonly isTrained: (key: string) => boolean;
  /** What parameters that are fed are computed with, see `LearnerSettings`. */
  readonly storage?: "f32" | "bf16";
};

/** A compiled pass over one link, its multiplications and additions, and those of its outputs that are gradients. */
type Pass = { readonly session: Session; readonly operations: number; readonly gradients: readonly string[] };

/** What walks back through the links together. */
type Walk = {
  readonly values: Kept;
  /** Gradients that later links have sent. */
  readonly arrived: Kept;
  readonly take: TakeGradients;
  /** The signal that is heeded at this moment. */
  readonly stop: () => AbortSignal | undefined;
};

/** Values that are with the engine, by `<link that gave it>/<name>`. */
type Kept = Map<string, ResidentRef>;

/**
 * Gradients of a `SegmentedGraph`. Beside weights and gradients, an engine then holds what passes between links and the
 * activations of one link: memory grows with depth by the former only. It costs the forward pass twice.
 */
export class SegmentedLoss {
  private readonly engine: Engine;
  private readonly graph: SegmentedGraph;
  private readonly isTrained: (key: string) => boolean;
  private readonly isRounded: boolean;
  private readonly sources: ReadonlyMap<string, number>[];
  private readonly passes = new Map<string, Promise<Pass>>();
  private operationsDone = 0;
  private readonly segments = new Map<Segment, number>();
  /** Whether trained weights have a part in what a link gives. */
  private readonly live: boolean[] = [];
  /** Outputs of each segment that later links take, after any of its links: of which gradients may arrive. */
  private readonly taken = new Map<Segment, Set<string>>();

  constructor(engine: Engine, graph: SegmentedGraph, { isTrained, storage }: SegmentedOptions) {
    this.engine = engine;
    this.graph = graph;
    this.isTrained = isTrained;
    this.isRounded = storage === "bf16";
    this.sources = sourcesOf(graph.links);
    for (const [i, { segment, prefix }] of graph.links.entries()) {
      if (!this.segments.has(segment)) this.segments.set(segment, this.segments.size);
      const learns = [...segment.params.keys()].some((key) => isTrained(prefix + key));
      for (const [name, giver] of this.sources[i]) {
        const { segment } = graph.links[giver];
        this.taken.set(segment, (this.taken.get(segment) ?? new Set()).add(name));
      }
      this.live.push(learns || [...this.sources[i].values()].some((giver) => this.live[giver]));
    }
  }

  /** Multiplications and additions of everything so far, what was computed again included. */
  get operations(): number {
    return this.operationsDone;
  }

  /** All gradients by checkpoint key, with the engine, and what the last link gives. */
  async differentiate(
    batch: SegmentedBatch,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<{ gradients: Map<string, ResidentRef>; report: Record<string, HostTensor> }> {
    const gradients = new Map<string, ResidentRef>();
    const collect: TakeGradients = (found) => {
      for (const [key, gradient] of found) gradients.set(key, gradient);
    };
    try {
      return { gradients, report: await this.walk(batch, collect, () => signal) };
    } catch (error) {
      await this.engine.free(...gradients.values());
      throw error;
    }
  }

  /**
   * The same, with the gradients of each link handed to `take` as soon as they are known, last link first. What `take`
   * does with them is waited for, so that weights may be updated there: links before it do not need them any more. Since
   * updates are not taken back, `signal` stops only what comes before the first of them.
   */
  async stream(
    batch: SegmentedBatch,
    take: TakeGradients,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<Record<string, HostTensor>> {
    let hasTaken = false;
    const note: TakeGradients = (gradients) => {
      hasTaken ||= gradients.size > 0;
      return take(gradients);
    };
    return this.walk(batch, note, () => (hasTaken ? undefined : signal));
  }

  private async walk(
    batch: SegmentedBatch,
    take: TakeGradients,
    stop: () => AbortSignal | undefined,
  ): Promise<Record<string, HostTensor>> {
    const values: Kept = new Map();
    const arrived: Kept = new Map();
    try {
      for (let i = 0; i < this.graph.links.length - 1; i++) await this.forward(i, batch, values, stop());
      let report: Record<string, HostTensor> = {};
      for (let i = this.graph.links.length - 1; i >= 0; i--)
        report = { ...report, ...(await this.backward(i, batch, { values, arrived, take, stop })) };
      return report;
    } finally {
      await this.engine.free(...values.values(), ...arrived.values());
    }
  }

  /** What the last link gives, without gradients. */
  async evaluate(
    batch: SegmentedBatch,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<Record<string, HostTensor>> {
    const values: Kept = new Map();
    try {
      for (let i = 0; i < this.graph.links.length; i++) {
        await this.forward(i, batch, values, signal);
        await this.freeUsed(i, values, (other) => other > i);
      }
      const last = this.graph.links.length - 1;
      const names = Object.keys(this.graph.links[last].segment.outputs);
      return await this.download(names.map((name) => [name, values.get(`${last}/${name}`)!]));
    } finally {
      await this.engine.free(...values.values());
    }
  }

  /** Releases every session. */
  async close(): Promise<void> {
    for (const pass of this.passes.values()) await this.engine.unload((await pass).session);
    this.passes.clear();
  }

  private async forward(
    index: number,
    batch: SegmentedBatch,
    values: Kept,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const link = this.graph.links[index];
    const pass = await this.pass(link, "forward", () => link.segment.outputs);
    const outputs = await this.run(pass, this.feeds(pass.session, index, batch, values), { signal });
    for (const [name, output] of Object.entries(outputs)) values.set(`${index}/${name}`, output);
  }

  /** Passes gradients on to what gave the inputs of a link; the last link also reports. */
  private async backward(
    index: number,
    batch: SegmentedBatch,
    { values, arrived, take, stop }: Walk,
  ): Promise<Record<string, HostTensor>> {
    const link = this.graph.links[index];
    const isLast = index === this.graph.links.length - 1;
    const call = this.callOf(index, arrived);
    let outputs: Readonly<Record<string, ResidentRef>> = {};
    if (isLast || (call.seeds.length > 0 && call.trained.length + call.wanted.length > 0)) {
      const pass = await this.pass(link, `backward ${JSON.stringify(call)}`, () =>
        backwardGraph(link.segment, call),
      );
      const given = this.gradientsFor(index, call, arrived);
      const consume = Object.values(given).filter((value): value is ResidentRef => "id" in value);
      const feeds = { ...this.feeds(pass.session, index, batch, values), ...given };
      outputs = await this.run(pass, feeds, { consume, signal: stop() });
      for (const [id, gradient] of arrived) if (consume.includes(gradient)) arrived.delete(id);
    }
    const { passedOn, gradients, rest } = this.sorted(index, outputs);
    for (const [id, gradient] of passedOn) arrived.set(id, gradient);
    await this.freeUsed(index, values, (other) => other < index);
    const report = await this.download(rest);
    await take(new Map(gradients));
    return report;
  }

  /** What a backward pass gave: gradients by what they are passed on to, those of parameters by key, and the report. */
  private sorted(index: number, outputs: Readonly<Record<string, ResidentRef>>) {
    const { prefix } = this.graph.links[index];
    const entries = Object.entries(outputs);
    const behind = (start: string, named: (name: string) => string) =>
      entries.flatMap(([name, ref]) =>
        name.startsWith(start) ? [[named(name.slice(start.length)), ref] as const] : [],
      );
    return {
      passedOn: behind(PREFIX.to, (name) => this.idOf(index, name)),
      gradients: behind(PREFIX.gradient, (key) => prefix + key),
      rest: entries.filter(([name]) => !name.startsWith(PREFIX.to) && !name.startsWith(PREFIX.gradient)),
    };
  }

  /**
   * What later links have sent. Of an output that none of them took, such as the text behind the last block, that is
   * zero.
   */
  private gradientsFor(index: number, { seeds, sums }: BackwardCall, arrived: Kept): Record<string, Value> {
    const { outputs } = this.graph.links[index].segment;
    return Object.fromEntries([
      ...seeds.map((name) => [
        PREFIX.seed + name,
        arrived.get(`${index}/${name}`) ?? zerosLike(outputs[name]),
      ]),
      ...sums.map((name) => [PREFIX.sum + name, arrived.get(this.idOf(index, name))!]),
    ]);
  }

  private callOf(index: number, arrived: Kept): BackwardCall {
    const { segment, prefix } = this.graph.links[index];
    const isReached = Object.keys(segment.outputs).some((name) => arrived.has(`${index}/${name}`));
    const wanted = [...this.sources[index]].flatMap(([name, giver]) => (this.live[giver] ? [name] : []));
    return {
      seeds: isReached ? [...(this.taken.get(segment) ?? [])] : [],
      wanted,
      sums: wanted.filter((name) => arrived.has(this.idOf(index, name))),
      trained: [...segment.params.keys()].filter((key) => this.isTrained(prefix + key)),
    };
  }

  private idOf(index: number, name: string): string {
    return `${this.sources[index].get(name)}/${name}`;
  }

  /** Lets go of the inputs of a link, and of what it gave, that none of the links still to run takes. */
  private async freeUsed(index: number, values: Kept, isLeft: (link: number) => boolean): Promise<void> {
    const taken = new Set(
      this.sources.flatMap((sources, i) =>
        isLeft(i) ? [...sources].map(([name]) => this.idOf(i, name)) : [],
      ),
    );
    for (const name of this.sources[index].keys()) {
      const id = this.idOf(index, name);
      const value = values.get(id);
      if (value === undefined || taken.has(id)) continue;
      values.delete(id);
      await this.engine.free(value);
    }
  }

  private feeds(
    { model }: Session,
    index: number,
    { feeds, weights }: SegmentedBatch,
    values: Kept,
  ): Record<string, Value> {
    const all: Record<string, Value> = {};
    for (const { name } of model.inputs) {
      const value =
        values.get(this.idOf(index, name)) ??
        weights.get(this.graph.links[index].prefix + name) ??
        feeds[name];
      if (value !== undefined) all[name] = value;
    }
    return all;
  }

  private run(
    { session, operations, gradients }: Pass,
    feeds: Readonly<Record<string, Value>>,
    options: { readonly consume?: readonly ResidentRef[]; readonly signal?: AbortSignal },
  ): Promise<Record<string, ResidentRef>> {
    this.operationsDone += operations;
    return this.engine.run(session, feeds, { ...options, unchecked: gradients });
  }

  /** One session for all links of a segment, or one for each where weights are mapped into it. */
  private pass(
    { segment, prefix }: Link,
    kind: string,
    outputs: () => Readonly<Record<string, Tensor>>,
  ): Promise<Pass> {
    const { frozen } = this.graph;
    const isMapped = [...segment.params.keys()].some((key) => frozen?.storage(prefix + key) !== undefined);
    const id = `${this.segments.get(segment)} ${isMapped ? prefix : ""} ${kind}`;
    const known = this.passes.get(id);
    if (known !== undefined) return known;
    const loading = this.load(`${segment.name} ${kind.split(" ")[0]}`, prefix, outputs());
    this.passes.set(id, loading);
    return loading;
  }

  private async load(
    label: string,
    prefix: string,
    outputs: Readonly<Record<string, Tensor>>,
  ): Promise<Pass> {
    const { frozen, name } = this.graph;
    const storage = frozen && ((key: string) => frozen.storage(prefix + key));
    const model = toOnnx(outputs, { storage, rounded: () => this.isRounded });
    const session = await this.engine.load(`${name}, ${label}`, model, { weightsFolder: frozen?.folder });
    const gradients = Object.keys(outputs).filter((name) => name.startsWith(PREFIX.gradient));
    return { session, operations: operationsOf(Object.values(outputs)), gradients };
  }

  private async download(
    refs: readonly (readonly [string, ResidentRef])[],
  ): Promise<Record<string, HostTensor>> {
    const entries = refs.map(async ([name, ref]) => [name, await this.engine.download(ref)] as const);
    return Object.fromEntries(await Promise.all(entries));
  }
}

function zerosLike({ shape }: Tensor): HostTensor {
  return { dtype: "f32", shape, data: new Float32Array(sizeOf(shape)) };
}

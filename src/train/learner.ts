/** @file Weights that are being trained: gradients of losses, updates, and the state that a run can go on from. */
import { ShapeError } from "../errors.ts";
import { type Shape, sizeOf } from "../graph/shape.ts";
import type { Engine } from "../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import type { MicroBatch } from "./loss-graph.ts";
import { pacesAt } from "./optimiser/adamw.ts";
import { type Role, rolesOf } from "./optimiser/update.ts";
import type { UpdateScalars } from "./optimiser/updates.ts";
import { type Gradients, type LearnerSettings, namesOf, notFinite, type Report, Shard } from "./shard.ts";

export type { LossGraph, MicroBatch } from "./loss-graph.ts";
export type { LearnerSettings } from "./shard.ts";

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
  /** Multiplications and additions of all losses, gradients and updates, see `operationsOf`. */
  readonly operations: number;
};

/** What one step learns by. */
type Course = {
  readonly step: number;
  readonly scalars: UpdateScalars;
  readonly signal: AbortSignal | undefined;
};

/** What the losses of a step gave, with the squares of their summed gradients, themselves summed. */
type Learnt = Pick<StepReport, "reports" | "operations"> & { readonly squares: number };

/** Everything that training goes on from, but for the step: a tensor for every role and key, `<role>/<key>`. */
export type TrainingTensors = ReadonlyMap<string, { readonly shape: Shape; readonly data: Float32Array }>;

/**
 * The engines that work on micro-batches side by side, each of which keeps and updates a share of the state. Graphs of
 * many small operators gain most from an engine of one thread for every core, since nothing is cut between threads then.
 */
export type Engines = readonly [Engine, ...Engine[]];

/**
 * Trained weights with their optimiser state, kept near the engines. Losses may differ from step to step, also in which
 * of the weights they reach; what a step's losses do not reach gets a gradient of zero.
 */
export class Learner {
  private readonly shards: readonly Shard[];
  private readonly settings: LearnerSettings;
  private readonly shapes: ReadonlyMap<string, Shape>;

  private constructor(engines: Engines, settings: LearnerSettings, shapes: ReadonlyMap<string, Shape>) {
    this.settings = settings;
    this.shapes = shapes;
    const shares = sharesOf(shapes, engines.length);
    const trained = new Set(shapes.keys());
    this.shards = engines.map((engine, i) => new Shard(engine, shares[i], settings, trained));
  }

  /** Starts from weights, with an optimiser that has seen nothing. */
  static async start(engines: Engines, weights: Weights, settings: LearnerSettings): Promise<Learner> {
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
    settings: LearnerSettings,
  ): Promise<Learner> {
    const weights = [...tensors].filter(([name]) => name.startsWith("weight/"));
    const shapes = new Map(weights.map(([name, { shape }]) => [name.slice("weight/".length), shape]));
    const learner = new Learner(engines, settings, shapes);
    for (const { role, key } of namesOf(shapes, rolesOf(settings))) {
      const tensor = tensors.get(`${role}/${key}`);
      if (tensor === undefined)
        throw new ShapeError(`the training state has no ${role}/${key}; it is not complete`);
      await learner.ownerOf(key).upload(role, key, tensor.data);
    }
    await learner.exchangeWeights();
    return learner;
  }

  /** Number of trained values. */
  get size(): number {
    return [...this.shapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  }

  /**
   * One step on the mean of some micro-batches' losses, link by link where `goesByLink` says so.
   * @param step counted from 1
   * @throws SessionError when a loss or gradient is not finite; the weights are then as they were before the step, or
   *   where a link's were updated before, cannot be read any more
   */
  async step(
    step: number,
    rate: number,
    batches: readonly MicroBatch[],
    { averageDecay = 0.999, signal }: { averageDecay?: number; signal?: AbortSignal } = {},
  ): Promise<StepReport> {
    const scalars = { ...pacesAt(step, rate, this.settings.adamW), averageDecay, share: 1 };
    const kind = {
      clip: this.settings.clip,
      engines: this.shards.length,
      microBatches: batches.length,
      isCut: batches.every(({ graph }) => graph.chain !== undefined),
    };
    const { reports, squares, operations } = goesByLink(kind)
      ? await this.learnByLink(batches[0], { step, scalars, signal })
      : await this.learnAtOnce(batches, { step, scalars, signal });
    const loss = reports.reduce((total, { loss }) => total + Number(loss.data[0]), 0) / batches.length;
    return { loss, gradientNorm: Math.sqrt(squares) / batches.length, reports, operations };
  }

  /** The loss and reports of a batch, without learning from it. */
  async evaluate(batch: MicroBatch): Promise<Report> {
    return this.shards[0].evaluate(batch);
  }

  /** Losses and reports of batches by the moving average of the weights, which the first engine has all of meanwhile. */
  async evaluateAverage(batches: AsyncIterable<MicroBatch>): Promise<Report[]> {
    const [first, ...others] = this.shards;
    const { engine } = first;
    const copies = others.map((other) => other.engine.hand(other.averages(), engine, { keep: true }));
    const copied = (await Promise.all(copies)).flatMap((each) => [...each]);
    const average = new Map([...first.averages(), ...copied]);
    const reports: Report[] = [];
    try {
      for await (const batch of batches) reports.push(await first.evaluate(batch, average));
    } finally {
      await engine.free(...copied.map(([, ref]) => ref));
    }
    return reports;
  }

  /** References to the current weights near the first engine by key, to be fed to other graphs; valid until the next step. */
  weights(): ReadonlyMap<string, ResidentRef> {
    return new Map([...this.shapes.keys()].map((key) => [key, this.shards[0].weight(key)!]));
  }

  /** Copies of the weights, or of their moving average. */
  async read(role: Extract<Role, "weight" | "average"> = "weight"): Promise<Weights> {
    const tensors = await this.tensors([role]);
    return new Map([...tensors].map(([name, tensor]) => [name.slice(role.length + 1), tensor]));
  }

  /** Copies of the whole state. */
  async tensors(wanted: readonly Role[] = rolesOf(this.settings)): Promise<TrainingTensors> {
    const tensors = new Map<string, { shape: Shape; data: Float32Array }>();
    for (const { role, key } of namesOf(this.shapes, wanted)) {
      const data = await this.ownerOf(key).download(role, key);
      tensors.set(`${role}/${key}`, { shape: this.shapes.get(key)!, data });
    }
    return tensors;
  }

  /** Gives sessions and tensors back to the engines. */
  async close(): Promise<void> {
    for (const shard of this.shards) await shard.close();
  }

  private async learnByLink(batch: MicroBatch, course: Course): Promise<Learnt> {
    const { report, ...learnt } = await this.shards[0].learnByLink(batch, course);
    return { ...learnt, reports: [report] };
  }

  /** Has all gradients before it updates anything. */
  private async learnAtOnce(
    batches: readonly MicroBatch[],
    { step, scalars, signal }: Course,
  ): Promise<Learnt> {
    const { gradients, reports, operations } = await this.differentiate(batches, signal);
    const sums = await this.exchangeGradients(gradients);
    const squares = sums.reduce((total, sum) => total + sum.squares, 0);
    if (!Number.isFinite(squares))
      throw notFinite(step, squares, await this.firstNotFinite(sums.map(({ gradients }) => gradients)));
    const factor = clipFactor(Math.sqrt(squares) / batches.length, this.settings.clip);
    const shared = { ...scalars, share: factor / batches.length };
    const updates = await Promise.all(this.shards.map((shard, i) => shard.update(sums[i].gradients, shared)));
    await this.exchangeWeights();
    return { reports, squares, operations: updates.reduce((a, b) => a + b, operations) };
  }

  /** The first weight whose gradient is not finite, if any is. @param parts gradients of every engine, which it uses up */
  private async firstNotFinite(parts: readonly Gradients[]): Promise<string | undefined> {
    const found = await Promise.all(this.shards.map((shard, i) => shard.firstNotFinite(parts[i])));
    return [...this.shapes.keys()].find((key) => found.includes(key));
  }

  private ownerOf(key: string): Shard {
    return this.shards.find(({ shapes }) => shapes.has(key))!;
  }

  /** Every engine takes every n-th batch and adds up its own; reports come in the order of the batches. */
  private async differentiate(
    batches: readonly MicroBatch[],
    signal: AbortSignal | undefined,
  ): Promise<{ gradients: Gradients[]; reports: Report[]; operations: number }> {
    const engines = this.shards.length;
    const found = await Promise.all(
      this.shards.map((shard, first) =>
        shard.differentiate(
          batches.filter((_, i) => i % engines === first),
          signal,
        ),
      ),
    );
    const reports = batches.map((_, i) => found[i % engines].reports[Math.floor(i / engines)]);
    const operations = found.reduce((sum, each) => sum + each.operations, 0);
    return { gradients: found.map(({ gradients }) => gradients), reports, operations };
  }

  /** Brings every gradient to the engine that updates its weight, where those of all engines are added up. */
  private exchangeGradients(
    found: readonly Gradients[],
  ): Promise<{ gradients: Gradients; squares: number }[]> {
    const gathered = this.shards.map(async (shard) => {
      const parts = found.map((gradients, i) => {
        const wanted = new Map([...gradients].filter(([key]) => shard.shapes.has(key)));
        const { engine } = this.shards[i];
        return engine === shard.engine ? wanted : engine.hand(wanted, shard.engine);
      });
      return shard.sum(await Promise.all(parts));
    });
    return Promise.all(gathered);
  }

  /** Brings every weight to the engines that do not update it. */
  private async exchangeWeights(): Promise<void> {
    const followed = this.shards.map(async (shard) => {
      const others = this.shards.filter((other) => other !== shard);
      const copies = others.map((other) => other.engine.hand(other.weights(), shard.engine, { keep: true }));
      await shard.follow(new Map((await Promise.all(copies)).flatMap((each) => [...each])));
    });
    await Promise.all(followed);
  }
}

/**
 * Whether a step updates the weights of each link of its loss before it goes on to the link before, so that gradients of
 * one link are alive at a time: it needs none of what is known only when all gradients are.
 */
export function goesByLink({
  clip,
  engines,
  microBatches,
  isCut,
}: {
  readonly clip: number | null;
  readonly engines: number;
  readonly microBatches: number;
  /** Whether the loss is cut into links, see `LossGraph`. */
  readonly isCut: boolean;
}): boolean {
  return isCut && clip === null && engines === 1 && microBatches === 1;
}

/** Shapes by key, cut into so many shares of about one size. */
function sharesOf(shapes: ReadonlyMap<string, Shape>, count: number): Map<string, Shape>[] {
  const shares = Array.from({ length: count }, () => ({ size: 0, shapes: new Map<string, Shape>() }));
  const fromLarge = [...shapes].toSorted(([, a], [, b]) => sizeOf(b) - sizeOf(a));
  for (const [key, shape] of fromLarge) {
    const share = shares.reduce((least, other) => (other.size < least.size ? other : least));
    share.shapes.set(key, shape);
    share.size += sizeOf(shape);
  }
  return shares.map((share) => share.shapes);
}

/** What brings a gradient of this norm down to `limit`, at most 1; the tiny addend is PyTorch's. */
function clipFactor(norm: number, limit: number | null): number {
  return limit === null ? 1 : Math.min(1, limit / (norm + 1e-6));
}

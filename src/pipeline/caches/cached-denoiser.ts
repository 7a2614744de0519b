/** @file A denoiser with a feature cache: the same predictions, nearly, from fewer evaluations. */
import { ConfigError } from "../../errors.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import type { Engine } from "../../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../../runtime/protocol.ts";
import type { WeightSet } from "../../weights/checkpoint.ts";
import { throughAll } from "../block-runner.ts";
import { Denoiser, type DenoiserCall, type DenoiserInputs } from "../denoiser.ts";
import type { RunHooks } from "../run-hooks.ts";
import { type CacheOptions, isForetold, policyOf } from "./caches.ts";
import { addEvaluations, type Evaluations, noEvaluations, Tally } from "./evaluations.ts";
import { FeatureArithmetic } from "./feature-arithmetic.ts";
import type { CachePolicy, CacheRun, Decision } from "./policy.ts";
import { conditionalHalf, deriveUnconditional, sumOf, unconditionalBands } from "./predictions.ts";
import { type Decider, walkAttention, walkSpan } from "./walks.ts";
import { WindowCache, type WindowState } from "./window-cache.ts";

/** The run that a cache serves, as far as it is known when the denoiser is set up. */
export type CachedRun = Omit<CacheRun, "config" | "conditioningChanges"> & {
  readonly cache: CacheOptions;
};

/** Everything about a cache that a resumed run needs; `structuredClone` copies it. */
export type CacheState = {
  /** Samples in the batch. */
  readonly batch: number;
  /** What is known of each window of the clip; of one, where it has no windows. */
  readonly windows: readonly WindowState[];
};

type StepInputs = DenoiserInputs & { readonly step: number };

/** One prediction on its way: who decides, and for which window. */
type Task = {
  readonly policy: CachePolicy;
  readonly window: WindowCache;
  readonly inputs: StepInputs;
  readonly hooks: RunHooks;
  readonly tally: Tally;
};

/** A `Denoiser` that may leave parts of the model out, as a cache decides. */
export class CachedDenoiser {
  private readonly engine: Engine;
  private readonly run: CachedRun;
  private readonly config: TransformerConfig;
  private readonly batch: number;
  private readonly all: Denoiser;
  private readonly makeHalf: () => Denoiser;
  /** For the samples with the prompt alone. */
  private half: Denoiser | null = null;
  private policy: CachePolicy | null = null;
  private step: number | null = null;
  /** By the index of the window; a clip without windows is window 0. */
  private readonly windows: WindowCache[] = [];
  private resumed: CacheState | null = null;
  private readonly arithmetic = new FeatureArithmetic();

  /** @throws ConfigError for a cache that does not fit the run, and as `Denoiser` */
  constructor(
    engine: Engine,
    config: TransformerConfig,
    weights: WeightSet,
    { run, ...call }: DenoiserCall & { readonly run: CachedRun },
  ) {
    policyOf(run.cache, { ...run, config, conditioningChanges: [] });
    this.engine = engine;
    this.run = run;
    this.config = config;
    this.batch = call.batch;
    this.all = new Denoiser(engine, config, weights, call);
    this.makeHalf = () => new Denoiser(engine, config, weights, { ...call, batch: call.batch / 2 });
  }

  /** How much of the last step was evaluated, in all windows together. */
  get evaluations(): Evaluations {
    const done = this.windows.filter(({ step }) => step === this.step);
    return done.map(({ evaluations }) => evaluations).reduce(addEvaluations, noEvaluations);
  }

  /** The step of the last prediction; null before the first. */
  get lastStep(): number | null {
    return this.step;
  }

  /** What the cache remembers of the clip, or of its first window, from decision to decision; plain data. */
  get memory(): unknown {
    return this.windows[0]?.memory ?? null;
  }

  /**
   * As `Denoiser.predict`; the inputs must say the step. What is kept of a window serves the same window in the step that
   * follows only: in any other, everything is computed anew.
   */
  async predict(inputs: DenoiserInputs, hooks: RunHooks = {}): Promise<HostTensor> {
    const { step } = inputs;
    if (step === undefined) throw new ConfigError("a denoiser with a cache must be told the step");
    const policy = await this.policyFor({ ...inputs, step });
    const window = this.windowAt(inputs.window ?? 0);
    await window.prepare(step, policy.start);
    const tally = new Tally(this.batch * this.config.layers);
    const prediction = await this.evaluate({ policy, window, inputs: { ...inputs, step }, hooks, tally });
    if (policy.observe) observe(policy, window, prediction);
    this.step = step;
    window.step = step;
    window.evaluations = tally.evaluations();
    return prediction;
  }

  /** The cache as it is between two steps. */
  async save(): Promise<CacheState> {
    return { batch: this.batch, windows: await Promise.all(this.windows.map((window) => window.save())) };
  }

  /**
   * Goes on as the cache that was saved would have; to be called before the first prediction. One of another batch is
   * of no use, and is left alone.
   */
  resume(saved: CacheState): void {
    if (saved.batch === this.batch) this.resumed = saved;
  }

  async close(): Promise<void> {
    for (const { tensors } of this.windows) await tensors.clear();
    await this.half?.close();
    await this.all.close();
  }

  private windowAt(index: number): WindowCache {
    this.windows[index] ??= new WindowCache(this.engine, this.resumed?.windows[index]);
    return this.windows[index];
  }

  /** The policy, which is made before the first step. */
  private async policyFor({ ofs }: StepInputs): Promise<CachePolicy> {
    const { cache, timesteps } = this.run;
    this.policy ??= policyOf(cache, {
      ...this.run,
      config: this.config,
      conditioningChanges: isForetold(cache) ? await this.conditioningChanges(timesteps, ofs?.[0] ?? 0) : [],
    });
    return this.policy;
  }

  private async evaluate(task: Task): Promise<HostTensor> {
    const { policy, inputs, hooks, tally } = task;
    const { tensors } = task.window;
    const { kept } = policy;
    const shelf = { tensors, arithmetic: this.arithmetic };
    if (kept.part === "blocks") {
      const walk = walkSpan(shelf, kept, deciderOf(task));
      return this.all.predict(inputs, hooks, (blocks, streams) => walk(tally.counting(blocks), streams));
    }
    const { reuse, unconditional } = decide(task, null);
    if (kept.part === "attention") {
      const isHalf = unconditional !== undefined;
      const denoiser = isHalf ? this.conditional() : this.all;
      const walk = walkAttention(shelf, { kept, weights: reuse, isPair: !isHalf });
      const asked = isHalf ? conditionalHalf({ ...inputs, text: await this.onHost(inputs.text) }) : inputs;
      const prediction = await denoiser.predict(asked, hooks, (blocks, streams) =>
        walk(tally.counting(blocks), streams),
      );
      if (isHalf) return deriveUnconditional(prediction, tensors.hosted("bands"), unconditional);
      if (kept.conditional) tensors.keepHosted("bands", unconditionalBands(prediction));
      return prediction;
    }
    if (reuse !== null) return sumOf(tensors.hosted("prediction"), reuse);
    const prediction = await this.all.predict(inputs, hooks, (blocks, streams) =>
      throughAll(tally.counting(blocks), streams),
    );
    tensors.keepHosted("prediction", prediction, kept.count);
    return prediction;
  }

  private async onHost(tensor: HostTensor | ResidentRef): Promise<HostTensor> {
    return "id" in tensor ? this.engine.download(tensor, { keep: true }) : tensor;
  }

  private conditional(): Denoiser {
    this.half ??= this.makeHalf();
    return this.half;
  }

  private async conditioningChanges(timesteps: readonly number[], ofs: number): Promise<number[]> {
    const emb = await this.all.conditioning({ timestep: timesteps, ofs: timesteps.map(() => ofs) });
    const width = emb.shape[1];
    const values = emb.data as Float32Array;
    const row = (step: number) => values.subarray(step * width, (step + 1) * width);
    return timesteps.map((_, step) => (step === 0 ? 0 : relativeChange(row(step), row(step - 1))));
  }
}

function deciderOf(task: Task): Decider {
  const { policy, window } = task;
  return {
    reuse: (change) => decide(task, change).reuse,
    learn: policy.learn
      ? (growth) => {
          window.memory = policy.learn?.(window.memory, growth);
        }
      : undefined,
  };
}

/** Tells the policy how far a prediction lies from the last one of the window, which keeps it. */
function observe(policy: CachePolicy, window: WindowCache, prediction: HostTensor): void {
  const now = prediction.data as Float32Array;
  const before = window.tensors.hosted("observed")[0]?.data as Float32Array | undefined;
  const change = before ? relativeChange(now, before) : null;
  window.memory = policy.observe?.(window.memory, change);
  window.tensors.keepHosted("observed", prediction);
}

/** mean |now - before| / mean |before| */
function relativeChange(now: Float32Array, before: Float32Array): number {
  let [moved, magnitude] = [0, 0];
  for (let i = 0; i < now.length; i++) {
    moved += Math.abs(now[i] - before[i]) / now.length;
    magnitude += Math.abs(before[i]) / now.length;
  }
  return moved / magnitude;
}

/** What the policy says for this window, which remembers it. */
function decide(
  { policy, window, inputs: { step, timestep } }: Task,
  change: number | null,
): Decision<unknown> {
  const { memory, tensors } = window;
  const names = { blocks: "span.video", attention: "attention.0.video", prediction: "" } as const;
  const { part } = policy.kept;
  const available =
    part === "prediction" ? tensors.hosted("prediction").length : tensors.residents(names[part]).length;
  const decision = policy.decide(memory, { step, timestep: timestep[0], available, change });
  window.memory = decision.memory;
  return decision;
}

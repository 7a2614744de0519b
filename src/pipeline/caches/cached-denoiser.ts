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
import { type Evaluations, noEvaluations, Tally } from "./evaluations.ts";
import { FeatureArithmetic } from "./feature-arithmetic.ts";
import { KeptTensors, type SavedTensors } from "./kept-tensors.ts";
import type { CachePolicy, CacheRun, Decision } from "./policy.ts";
import { conditionalHalf, deriveUnconditional, sumOf, unconditionalBands } from "./predictions.ts";
import { type Decider, walkAttention, walkSpan } from "./walks.ts";

/** The run that a cache serves, as far as it is known when the denoiser is set up. */
export type CachedRun = Omit<CacheRun, "config" | "conditioningChanges"> & {
  readonly cache: CacheOptions;
};

/** Everything about a cache that a resumed run needs; `structuredClone` copies it. */
export type CacheState = {
  /** The step that was evaluated last; null before the first. */
  readonly step: number | null;
  /** Samples in the batch. */
  readonly batch: number;
  readonly memory: unknown;
  readonly tensors: SavedTensors;
};

type StepInputs = DenoiserInputs & { readonly step: number };

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
  private remembered: unknown = null;
  private step: number | null = null;
  private resumed: CacheState | null = null;
  private readonly tensors: KeptTensors;
  private readonly arithmetic = new FeatureArithmetic();
  private latest: Evaluations = noEvaluations;

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
    this.tensors = new KeptTensors(engine);
  }

  /** How much of the last prediction was evaluated. */
  get evaluations(): Evaluations {
    return this.latest;
  }

  /** The step of the last prediction; null before the first. */
  get lastStep(): number | null {
    return this.step;
  }

  /** What the cache remembers from decision to decision; plain data. */
  get memory(): unknown {
    return this.remembered;
  }

  /**
   * As `Denoiser.predict`; the inputs must say the step. What is kept serves the step that follows the last one only:
   * after any other, everything is computed anew.
   */
  async predict(inputs: DenoiserInputs, hooks: RunHooks = {}): Promise<HostTensor> {
    const { step } = inputs;
    if (step === undefined) throw new ConfigError("a denoiser with a cache must be told the step");
    const policy = await this.policyFor({ ...inputs, step });
    const tally = new Tally(this.batch * this.config.layers);
    const prediction = await this.evaluate(policy, { ...inputs, step }, hooks, tally);
    this.step = step;
    this.latest = tally.evaluations();
    return prediction;
  }

  /** The cache as it is between two steps. */
  async save(): Promise<CacheState> {
    const { step, batch, remembered: memory } = this;
    return { step, batch, memory, tensors: await this.tensors.save() };
  }

  /** Goes on as the cache that was saved would have; one of another batch is of no use, and is left alone. */
  resume(saved: CacheState): void {
    if (saved.batch === this.batch) this.resumed = saved;
  }

  async close(): Promise<void> {
    await this.tensors.clear();
    await this.half?.close();
    await this.all.close();
  }

  /** The policy, which is made before the first step; forgets what does not belong to the step before this one. */
  private async policyFor({ step, ofs }: StepInputs): Promise<CachePolicy> {
    const { cache, timesteps } = this.run;
    this.policy ??= policyOf(cache, {
      ...this.run,
      config: this.config,
      conditioningChanges: isForetold(cache) ? await this.conditioningChanges(timesteps, ofs?.[0] ?? 0) : [],
    });
    if (this.resumed) {
      this.step = this.resumed.step;
      this.remembered = this.resumed.memory;
      await this.tensors.restore(this.resumed.tensors);
      this.resumed = null;
    }
    if (this.step !== step - 1) {
      this.remembered = this.policy.start;
      await this.tensors.clear();
    }
    return this.policy;
  }

  private async evaluate(
    policy: CachePolicy,
    inputs: StepInputs,
    hooks: RunHooks,
    tally: Tally,
  ): Promise<HostTensor> {
    const { kept } = policy;
    const shelf = { tensors: this.tensors, arithmetic: this.arithmetic };
    if (kept.part === "blocks") {
      const walk = walkSpan(shelf, kept, this.decider(policy, inputs));
      return this.all.predict(inputs, hooks, (blocks, streams) => walk(tally.counting(blocks), streams));
    }
    const { reuse, unconditional } = this.decide(policy, inputs, null);
    if (kept.part === "attention") {
      const isHalf = unconditional !== undefined;
      const denoiser = isHalf ? this.conditional() : this.all;
      const walk = walkAttention(shelf, { kept, weights: reuse, isPair: !isHalf });
      const asked = isHalf ? conditionalHalf({ ...inputs, text: await this.onHost(inputs.text) }) : inputs;
      const prediction = await denoiser.predict(asked, hooks, (blocks, streams) =>
        walk(tally.counting(blocks), streams),
      );
      if (isHalf) return deriveUnconditional(prediction, this.tensors.hosted("bands"), unconditional);
      if (kept.conditional) this.tensors.keepHosted("bands", unconditionalBands(prediction));
      return prediction;
    }
    if (reuse !== null) return sumOf(this.tensors.hosted("prediction"), reuse);
    const prediction = await this.all.predict(inputs, hooks, (blocks, streams) =>
      throughAll(tally.counting(blocks), streams),
    );
    this.tensors.keepHosted("prediction", prediction, kept.count);
    return prediction;
  }

  private decider(policy: CachePolicy, inputs: StepInputs): Decider {
    return {
      reuse: (change) => this.decide(policy, inputs, change).reuse,
      learn: policy.learn
        ? (growth) => {
            this.remembered = policy.learn?.(this.remembered, growth);
          }
        : undefined,
    };
  }

  private decide(
    policy: CachePolicy,
    { step, timestep }: StepInputs,
    change: number | null,
  ): Decision<unknown> {
    const names = { blocks: "span.video", attention: "attention.0.video", prediction: "" } as const;
    const { part } = policy.kept;
    const available =
      part === "prediction"
        ? this.tensors.hosted("prediction").length
        : this.tensors.residents(names[part]).length;
    const decision = policy.decide(this.remembered, { step, timestep: timestep[0], available, change });
    this.remembered = decision.memory;
    return decision;
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
    const mean = (of: (at: number) => number) => {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += Math.abs(of(i)) / width;
      return sum;
    };
    return timesteps.map((_, step) => {
      if (step === 0) return 0;
      const [now, before] = [step * width, (step - 1) * width];
      return mean((i) => values[now + i] - values[before + i]) / mean((i) => values[before + i]);
    });
  }
}

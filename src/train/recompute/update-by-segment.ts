/** @file Trains with updates link by link, so that never more than one link's gradients are alive. */
import { ConfigError } from "../../errors.ts";
import { toOnnx } from "../../graph/onnx.ts";
import type { Shape } from "../../graph/shape.ts";
import type { Engine, Session, Value } from "../../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../../runtime/protocol.ts";
import type { TrainingTensors } from "../learner.ts";
import { pacesAt } from "../optimiser/adamw.ts";
import { runUpdate, type UpdateScalars } from "../optimiser/run-update.ts";
import { rolesOf, type UpdateSettings, updateGraph } from "../optimiser/update.ts";
import type { Link } from "./segmented-graph.ts";
import type { SegmentedLoss } from "./segmented-loss.ts";

/** What one step gave. */
export type SegmentedStep = {
  /** Norm of the gradient over all weights. */
  readonly gradientNorm: number;
  readonly report: Readonly<Record<string, HostTensor>>;
};

/**
 * Weights and their optimiser state, updated by AdamW while the backward pass is still on its way to the first link. One
 * batch is one step, and gradients are not clipped: the norm over all of them is known only when they are gone. Where
 * either is needed, collect the gradients with `SegmentedLoss.differentiate` instead.
 */
export class UpdateBySegment {
  private readonly engine: Engine;
  private readonly settings: UpdateSettings;
  private readonly state = new Map<string, ResidentRef>();
  private readonly sessions = new Map<string, Promise<Session>>();

  private constructor(engine: Engine, settings: UpdateSettings) {
    this.engine = engine;
    this.settings = settings;
  }

  /**
   * Goes on from a learner's state.
   * @throws ConfigError when the settings clip gradients
   */
  static async restore(
    engine: Engine,
    tensors: TrainingTensors,
    settings: UpdateSettings,
  ): Promise<UpdateBySegment> {
    if (settings.clip !== null)
      throw new ConfigError(
        `updates segment by segment cannot clip gradients to a norm of ${settings.clip}, since no two segments' ` +
          "gradients are known at once; set clip to null or collect all gradients first",
      );
    const updates = new UpdateBySegment(engine, settings);
    for (const [name, tensor] of tensors)
      updates.state.set(name, await engine.upload({ dtype: "f32", ...tensor }));
    return updates;
  }

  /** References to the current weights by key; valid until the next step. */
  weights(): Map<string, ResidentRef> {
    return new Map(
      [...this.state].flatMap(([name, ref]) =>
        name.startsWith("weight/") ? [[name.slice("weight/".length), ref] as const] : [],
      ),
    );
  }

  /** Copies of the whole state. */
  async tensors(): Promise<TrainingTensors> {
    const tensors = new Map<string, { shape: Shape; data: Float32Array }>();
    for (const [name, ref] of this.state) {
      const { shape, data } = await this.engine.download(ref, { keep: true });
      tensors.set(name, { shape, data: data as Float32Array });
    }
    return tensors;
  }

  /**
   * One step.
   * @param step counted from 1
   * @param others weights that are not trained
   * @throws CancelledError or SessionError between links; links behind the one it stopped at are then updated already, so
   *   that the state is no step's any more
   */
  async step(
    step: number,
    rate: number,
    loss: SegmentedLoss,
    feeds: Readonly<Record<string, Value>>,
    {
      averageDecay = 0.999,
      others = new Map(),
      signal,
    }: { averageDecay?: number; others?: ReadonlyMap<string, Value>; signal?: AbortSignal } = {},
  ): Promise<SegmentedStep> {
    const scalars = { ...pacesAt(step, rate, this.settings.adamW), averageDecay, share: 1 };
    let squares = 0;
    const take = async (link: Link, gradients: ReadonlyMap<string, ResidentRef>) => {
      if (gradients.size > 0) squares += (await this.update(link, gradients, scalars)) ** 2;
    };
    const weights = new Map([...others, ...this.weights()]);
    const report = await loss.stream({ feeds, weights }, take, { signal });
    return { gradientNorm: Math.sqrt(squares), report };
  }

  /** Gives sessions and tensors back to the engine. */
  async close(): Promise<void> {
    for (const session of this.sessions.values()) await this.engine.unload(await session);
    this.sessions.clear();
    await this.engine.free(...this.state.values());
    this.state.clear();
  }

  /** Updates the weights of one link and returns the norm of their gradient. */
  private async update(
    { prefix }: Link,
    gradients: ReadonlyMap<string, ResidentRef>,
    scalars: UpdateScalars,
  ): Promise<number> {
    const session = await this.session(gradients);
    const names = [...gradients.keys()].flatMap((key) =>
      rolesOf(this.settings).map((role) => [`${role}/${key}`, `${role}/${prefix}${key}`] as const),
    );
    const old = new Map(names.map(([name, stored]) => [name, this.state.get(stored)!]));
    const after = await runUpdate(this.engine, session, { state: old, gradients, scalars });
    for (const [name, stored] of names) this.state.set(stored, after[name]);
    return Number((await this.engine.download(after.norm)).data[0]);
  }

  /** Links with weights of the same names and shapes share one session. */
  private session(gradients: ReadonlyMap<string, ResidentRef>): Promise<Session> {
    const shapes = new Map([...gradients].map(([key, { shape }]) => [key, shape]));
    const id = JSON.stringify([...shapes]);
    const known = this.sessions.get(id);
    if (known !== undefined) return known;
    const session = this.engine.load("update", toOnnx(updateGraph(shapes, this.settings)));
    this.sessions.set(id, session);
    return session;
  }
}

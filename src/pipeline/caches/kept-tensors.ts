/** @file Tensors that a cache keeps from step to step, near the engine or on the host, the newest first. */
import type { Engine } from "../../runtime/engine.ts";
import type { HostTensor, ResidentRef } from "../../runtime/protocol.ts";

/** Kept tensors by name, on the host, to be stored and brought back. */
export type SavedTensors = {
  readonly [place in "resident" | "host"]: Readonly<Record<string, readonly HostTensor[]>>;
};

/** A shelf of tensors; whoever keeps one there lets go of it. */
export class KeptTensors {
  private readonly engine: Engine;
  private resident: Record<string, readonly ResidentRef[]> = {};
  private host: Record<string, readonly HostTensor[]> = {};

  constructor(engine: Engine) {
    this.engine = engine;
  }

  /** Tensors near the engine under a name; they must not be consumed. */
  residents(name: string): readonly ResidentRef[] {
    return this.resident[name] ?? [];
  }

  /** Keeps a tensor near the engine, and the newest of those kept before, `count` in all. */
  async keep(name: string, tensor: ResidentRef, count = 1): Promise<void> {
    const all = [tensor, ...this.residents(name)];
    this.resident[name] = all.slice(0, count);
    await this.engine.free(...all.slice(count));
  }

  /** Tensors on the host under a name. */
  hosted(name: string): readonly HostTensor[] {
    return this.host[name] ?? [];
  }

  /** As `keep`, on the host. */
  keepHosted(name: string, tensor: HostTensor, count = 1): void {
    this.host[name] = [tensor, ...this.hosted(name)].slice(0, count);
  }

  async clear(): Promise<void> {
    const all = Object.values(this.resident).flat();
    this.resident = {};
    this.host = {};
    await this.engine.free(...all);
  }

  /** Copies of all that is kept; a value that `structuredClone` copies. */
  async save(): Promise<SavedTensors> {
    const download = (tensor: ResidentRef) => this.engine.download(tensor, { keep: true });
    const resident: Record<string, readonly HostTensor[]> = {};
    for (const [name, tensors] of Object.entries(this.resident))
      resident[name] = await Promise.all(tensors.map(download));
    return { resident, host: { ...this.host } };
  }

  /** What `save` has given, in place of what is kept. */
  async restore({ resident, host }: SavedTensors): Promise<void> {
    await this.clear();
    this.host = { ...host };
    for (const [name, tensors] of Object.entries(resident))
      this.resident[name] = await Promise.all(tensors.map((tensor) => this.engine.upload(tensor)));
  }
}

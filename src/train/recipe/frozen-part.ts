/** @file A part of a run's model that does not learn, at work as one session. */
import { toOnnx } from "../../graph/onnx.ts";
import { simplify } from "../../graph/rewrite.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { Scope } from "../../nn/scope.ts";
import type { Engine, Session, Value } from "../../runtime/engine.ts";
import { mapWeights } from "../../runtime/mapped-weights.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import type { KeyOptions } from "../../weights/check.ts";
import type { ComponentName } from "../new-checkpoint/spec.ts";
import { openPart } from "./model-folder.ts";

/** Which part, and how it is run. */
export type FrozenPartSetting<O extends string> = {
  readonly engine: Engine;
  /** The run's model. */
  readonly folder: string;
  readonly part: ComponentName;
  /** For messages. */
  readonly label: string;
  /** Whether the session keeps the memory that its operators free, for few but very large tensors. */
  readonly arena?: boolean;
  readonly keys?: KeyOptions;
  /** The graph of what comes out. */
  readonly build: (p: Scope) => Readonly<Record<O, Tensor>>;
};

export type FrozenPart<O extends string> = {
  readonly run: (feeds: Readonly<Record<string, Value>>) => Promise<Record<O, HostTensor>>;
  readonly close: () => Promise<void>;
};

/** Makes a part ready to be loaded, which happens when it is first run. */
export function frozenPart<O extends string>(setting: FrozenPartSetting<O>): FrozenPart<O> {
  const { engine } = setting;
  let loading: Promise<Session> | null = null;
  return {
    run: async (feeds) => {
      loading ??= load(setting);
      const outputs = await engine.run(await loading, feeds);
      const found: Record<string, HostTensor> = {};
      for (const [name, tensor] of Object.entries(outputs)) found[name] = await engine.download(tensor);
      return found;
    },
    close: async () => {
      if (loading !== null) await engine.unload(await loading);
    },
  };
}

async function load<O extends string>(setting: FrozenPartSetting<O>): Promise<Session> {
  const { engine, folder, part, label, arena, keys, build } = setting;
  const p = new Scope();
  const outputs = simplify({ ...build(p) });
  const declared = new Map([...p.declared].map(([key, { shape }]) => [key, shape]));
  const mapped = mapWeights(await openPart(folder, part), declared, keys);
  const model = toOnnx(outputs, { storage: mapped.storage });
  return engine.load(label, model, { weightsFolder: mapped.folder, arena });
}

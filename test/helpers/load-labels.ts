/** @file Which models an engine makes ready. */
import type { Engine } from "../../src/runtime/engine.ts";

/** Labels of what `engine` loads from now on, in the order of the calls. */
export function loadLabels(engine: Engine): readonly string[] {
  const labels: string[] = [];
  const load = engine.load.bind(engine);
  engine.load = (label, ...rest) => {
    labels.push(label);
    return load(label, ...rest);
  };
  return labels;
}

/** @file Segments: traced parts of a model. */
import { expect, test } from "vitest";
import { linear } from "../nn/layers.ts";
import { Scope } from "../nn/scope.ts";
import { printGraph } from "./print.ts";
import { traceSegment, unusedParams } from "./segment.ts";

test("a segment holds its inputs, its outputs and what it declares", () => {
  const segment = traceSegment("blocks.0", { x: [2, 3], ids: { shape: [2], dtype: "i32" } }, ({ x }) => {
    const p = new Scope().at("blocks", 0);
    return { outputs: { y: linear(p.at("proj"), x, 4) }, params: p.declared };
  });
  expect(segment.inputs.ids.dtype).toBe("i32");
  expect([...segment.params.keys()]).toEqual(["blocks.0.proj.weight", "blocks.0.proj.bias"]);
  expect(printGraph(segment.outputs)).toMatchInlineSnapshot(`
    "%0 = Input(){name="x"} f32[2, 3]
    %1 = Param(){key="blocks.0.proj.weight"} f32[4, 3] @ blocks.0.proj
    %2 = Param(){key="blocks.0.proj.bias"} f32[4] @ blocks.0.proj
    %3 = Linear(%0, %1, %2) f32[2, 4] @ blocks.0.proj
    return y = %3"
  `);
  expect(unusedParams(segment)).toEqual([]);
});

test("names parameters that are declared and not used", () => {
  const segment = traceSegment("odd", { x: [2, 3] }, ({ x }) => {
    const p = new Scope();
    p.param("forgotten", [3]);
    return { outputs: { y: x.mul(p.param("scale", [3])) }, params: p.declared };
  });
  expect(unusedParams(segment)).toEqual(["forgotten"]);
});

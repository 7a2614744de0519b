/** @file Scopes: where parameter names come from. */
import { describe, expect, test } from "vitest";
import { ShapeError } from "../errors.ts";
import { input } from "../graph/tensor.ts";
import { layer, Scope } from "./scope.ts";

describe("a scope", () => {
  test("joins names and numbers with dots, as checkpoints do", () => {
    const scope = new Scope().at("transformer_blocks", 3).at("ff").at("net", 0, "proj");
    expect(scope.path).toBe("transformer_blocks.3.ff.net.0.proj");
    expect(scope.param("weight", [2]).attrs).toEqual({
      key: "transformer_blocks.3.ff.net.0.proj.weight",
      shape: [2],
    });
  });

  test("leaves a parameter at the top without a dot", () => {
    const p = new Scope();
    p.param("weight", [1]);
    expect([...p.declared.keys()]).toEqual(["weight"]);
  });

  test("keeps every declaration of the tree in the order of first use", () => {
    const p = new Scope();
    p.at("b").param("weight", [1]);
    p.at("a").param("weight", [2]);
    p.at("b").param("bias", [3]);
    p.at("b").param("weight", [1]);
    expect([...p.declared.keys()]).toEqual(["b.weight", "a.weight", "b.bias"]);
    expect(p.at("x").declared).toBe(p.declared);
  });

  test("gives one tensor for one name", () => {
    const p = new Scope();
    expect(p.param("weight", [2, 3])).toBe(p.param("weight", [2, 3]));
    expect(p.at("a").param("weight", [2])).not.toBe(p.param("weight", [2, 3]));
  });

  test("refuses two shapes for one name and tells both", () => {
    const p = new Scope().at("proj");
    p.param("weight", [2, 3]);
    expect(() => p.param("weight", [3, 2])).toThrow(
      new ShapeError("parameter proj.weight is declared as [2, 3] and as [3, 2]; one of them is wrong"),
    );
  });
});

describe("a layer", () => {
  test("names its nodes after the scope it is given", () => {
    const inner = layer((_, x: ReturnType<typeof input>) => x.neg());
    const outer = layer((p, x: ReturnType<typeof input>) => inner(p.at("inner"), x).neg());
    const y = outer(new Scope("outer"), input("x", [1]));
    expect([y.path, y.inputs[0].path]).toEqual(["outer", "outer.inner"]);
  });
});

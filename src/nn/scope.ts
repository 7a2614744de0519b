/** @file Scopes name parameters: the path of a scope is the checkpoint's key, letter for letter. */
import { ShapeError } from "../errors.ts";
import { type Shape, sameShape, showShape } from "../graph/shape.ts";
import { emit, type Tensor, withScope } from "../graph/tensor.ts";

/** What `param` declares: shapes by checkpoint key, in order of first use. */
export type Declared = Map<string, Tensor>;

/** A place in the tree of parameters. Model functions take one first and declare what they use where they use it. */
export class Scope {
  readonly path: string;
  /** Every parameter declared through this scope or any other of the same tree. */
  readonly declared: Declared;

  constructor(path = "", declared: Declared = new Map()) {
    this.path = path;
    this.declared = declared;
  }

  /** A scope further down: `p.at("ff").at("net", 0, "proj")`. */
  at(...names: readonly (string | number)[]): Scope {
    return new Scope([...(this.path === "" ? [] : [this.path]), ...names].join("."), this.declared);
  }

  /**
   * The parameter `path.name`. Declared twice, it is the same tensor.
   * @throws ShapeError when a second declaration disagrees with the first.
   */
  param(name: string, shape: Shape): Tensor {
    const key = this.at(name).path;
    const known = this.declared.get(key);
    if (known !== undefined) {
      if (!sameShape(known.shape, shape))
        throw new ShapeError(
          `parameter ${key} is declared as ${showShape(known.shape)} and as ${showShape(shape)}; one of them is wrong`,
        );
      return known;
    }
    const param = emit("Param", [], { key, shape });
    this.declared.set(key, param);
    return param;
  }
}

/** Makes a model function name the nodes it builds after the scope it is given. */
export function layer<A extends readonly unknown[], R>(
  build: (p: Scope, ...args: A) => R,
): (p: Scope, ...args: A) => R {
  return (p, ...args) => withScope(p.path, () => build(p, ...args));
}

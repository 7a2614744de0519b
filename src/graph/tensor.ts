/** @file Symbolic tensors: a node with a type, made by `emit`, named by the scope it was made in. */
import { ShapeError } from "../errors.ts";
import type { DType, HostArray } from "./dtype.ts";
import { type InferRule, infer, type TensorType } from "./infer.ts";
import type { Op, OpAttrs } from "./ops.ts";
import { axisOf, type Shape, showShape } from "./shape.ts";

/** Anything an elementwise operator takes beside a tensor. */
export type Operand = Tensor | number;

let nextId = 0;
let scopePath = "";

/** A value of a graph that is yet to run. Immutable; the same tensor may feed any number of nodes. */
export class Tensor implements TensorType {
  readonly id: number;
  readonly op: Op;
  readonly inputs: readonly Tensor[];
  readonly attrs: OpAttrs[Op];
  readonly shape: Shape;
  readonly dtype: DType;
  /** Where the node was made: the parameter scope, such as `transformer_blocks.0.attn1`. */
  readonly path: string;

  constructor(op: Op, inputs: readonly Tensor[], attrs: OpAttrs[Op], type: TensorType) {
    this.id = nextId++;
    this.op = op;
    this.inputs = inputs;
    this.attrs = attrs;
    this.shape = type.shape;
    this.dtype = type.dtype;
    this.path = scopePath;
  }

  /** Length of one axis; negative axes count from the end. */
  dim(axis: number): number {
    return this.shape[axisOf(axis, this.shape.length)];
  }

  add(other: Operand): Tensor {
    return emit("Add", [this, lift(other, this)], {});
  }

  sub(other: Operand): Tensor {
    return emit("Sub", [this, lift(other, this)], {});
  }

  mul(other: Operand): Tensor {
    return emit("Mul", [this, lift(other, this)], {});
  }

  div(other: Operand): Tensor {
    return emit("Div", [this, lift(other, this)], {});
  }

  neg(): Tensor {
    return emit("Neg", [this], {});
  }

  matmul(other: Tensor, { transA = false, transB = false } = {}): Tensor {
    return emit("MatMul", [this, other], { transA, transB });
  }

  /** One entry may be -1. */
  reshape(shape: Shape): Tensor {
    return emit("Reshape", [this], { shape });
  }

  transpose(perm: readonly number[]): Tensor {
    return emit("Transpose", [this], { perm });
  }

  /** Elements `start` (inclusive) to `end` (exclusive) of one axis, as in Python. */
  slice(axis: number, start: number, end: number = this.dim(axis), step = 1): Tensor {
    return emit("Slice", [this], { axis: axisOf(axis, this.shape.length), start, end, step });
  }

  sum(axes: readonly number[], keepDims = false): Tensor {
    return emit("Sum", [this], { axes: this.axes(axes), keepDims });
  }

  mean(axes: readonly number[], keepDims = false): Tensor {
    return emit("Mean", [this], { axes: this.axes(axes), keepDims });
  }

  expand(shape: Shape): Tensor {
    return emit("Expand", [this], { shape });
  }

  cast(to: DType): Tensor {
    return this.dtype === to ? this : emit("Cast", [this], { to });
  }

  private axes(axes: readonly number[]): number[] {
    return axes.map((axis) => axisOf(axis, this.shape.length));
  }
}

/**
 * Makes a node and infers its type.
 * @throws ShapeError with the scope path and the inputs' shapes when they do not fit.
 */
export function emit<O extends Op>(op: O, inputs: readonly Tensor[], attrs: OpAttrs[O]): Tensor {
  try {
    const rule: InferRule<O> = infer[op];
    return new Tensor(op, inputs, attrs, rule(inputs, attrs));
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    const where = scopePath === "" ? "" : ` in ${scopePath}`;
    const shapes = inputs.map((x) => showShape(x.shape)).join(", ");
    throw new ShapeError(`${op}${where}: ${error.message}; inputs ${shapes}`);
  }
}

/** A graph input, fed at every run. */
export function input(name: string, shape: Shape, dtype: DType = "f32"): Tensor {
  return emit("Input", [], { name, shape, dtype });
}

/** A constant that travels inside the graph; keep it small. */
export function constant(data: HostArray, shape: Shape, dtype: DType = "f32"): Tensor {
  return emit("Constant", [], { data, shape, dtype });
}

/** A float scalar, broadcast where it is used. */
export function scalar(value: number, dtype: DType = "f32"): Tensor {
  if (dtype === "i64") return constant(BigInt64Array.of(BigInt(value)), [], dtype);
  if (dtype === "i32") return constant(Int32Array.of(value), [], dtype);
  return constant(Float32Array.of(value), [], "f32").cast(dtype);
}

export function lift(value: Operand, like: TensorType): Tensor {
  return typeof value === "number" ? scalar(value, like.dtype) : value;
}

/** Runs `build` with `path` as the name of every node it makes. Graph building is synchronous, so nesting is safe. */
export function withScope<T>(path: string, build: () => T): T {
  const outer = scopePath;
  scopePath = path;
  try {
    return build();
  } finally {
    scopePath = outer;
  }
}

/** Every node the outputs need, inputs before users. Dead nodes are simply not reached. */
export function toposort(outputs: readonly Tensor[]): Tensor[] {
  const order: Tensor[] = [];
  const seen = new Set<Tensor>();
  const stack = [...outputs].reverse().map((node) => ({ node, next: 0 }));
  while (stack.length > 0) {
    const top = stack[stack.length - 1];
    if (top.next === 0 && seen.has(top.node)) {
      stack.pop();
    } else if (top.next < top.node.inputs.length) {
      seen.add(top.node);
      const child = top.node.inputs[top.next++];
      if (!seen.has(child)) stack.push({ node: child, next: 0 });
    } else {
      seen.add(top.node);
      order.push(top.node);
      stack.pop();
    }
  }
  return order;
}

/** The attributes of a node whose operator is known. The one place where rule dispatch needs a cast. */
export function attrsOf<O extends Op>(node: Tensor, op: O): OpAttrs[O] {
  if (node.op !== op) throw new ShapeError(`expected a node ${op}, got ${node.op} in ${node.path}`);
  return node.attrs as OpAttrs[O];
}

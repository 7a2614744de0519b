/** @file The sum of the gradients that reach one tensor from its users. */
import { concat } from "../graph/functions.ts";
import { attrsOf, type Tensor } from "../graph/tensor.ts";
import { zerosLike } from "./rule.ts";

/** A gradient that is zero outside elements `start` to `end` of one axis. */
type Part = { readonly axis: number; readonly start: number; readonly end: number; readonly inner: Tensor };

/**
 * Adds gradients. Those of slices that do not overlap are laid side by side instead: a tensor taken apart into n
 * pieces would otherwise be padded and added n times.
 */
export function addUp(parts: readonly Tensor[]): Tensor {
  const slices = parts.flatMap((part) => partOf(part) ?? []);
  const rest = parts.filter((part) => partOf(part) === null);
  const groups = new Map<number, Part[]>();
  for (const slice of slices) groups.set(slice.axis, [...(groups.get(slice.axis) ?? []), slice]);
  const sums = [...groups.values()].flatMap((group) => sideBySide(group, parts[0]));
  return [...rest, ...sums].reduce((a, b) => a.add(b));
}

/** Rows of parts that do not overlap, each filled up with zeros to the shape of `like`. */
function sideBySide(parts: readonly Part[], like: Tensor): Tensor[] {
  const rows: Part[][] = [];
  for (const part of parts.toSorted((a, b) => a.start - b.start)) {
    const row = rows.find((other) => other[other.length - 1].end <= part.start);
    if (row === undefined) rows.push([part]);
    else row.push(part);
  }
  return rows.map((row) => laidOut(row, like));
}

function laidOut(row: readonly Part[], like: Tensor): Tensor {
  const [{ axis }] = row;
  const gap = (start: number, end: number): Tensor[] =>
    start === end ? [] : [zerosLike({ shape: like.shape.with(axis, end - start), dtype: like.dtype })];
  let done = 0;
  const pieces: Tensor[] = [];
  for (const { start, end, inner } of row) {
    pieces.push(...gap(done, start), inner);
    done = end;
  }
  return concat([...pieces, ...gap(done, like.shape[axis])], axis);
}

/** What a gradient made by padding one axis with zeros holds, null for any other. */
function partOf(g: Tensor): Part | null {
  if (g.op !== "Pad") return null;
  const { before, after, mode, value } = attrsOf(g, "Pad");
  const padded = before.flatMap((n, axis) => (n !== 0 || after[axis] !== 0 ? [axis] : []));
  if (mode !== "constant" || value !== 0 || padded.length !== 1) return null;
  const [axis] = padded;
  const [inner] = g.inputs;
  if (before[axis] < 0 || after[axis] < 0) return null;
  return { axis, start: before[axis], end: before[axis] + inner.shape[axis], inner };
}

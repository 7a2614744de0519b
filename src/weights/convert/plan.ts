/** @file Plans a conversion: every tensor of the result as byte ranges of the source, nothing read. */
import { WeightsError } from "../../errors.ts";
import { show } from "../file.ts";
import type { StoredTensor } from "../safetensors.ts";
import type { TensorLayout } from "../write.ts";
import { fillPattern, matchPattern, partOf, reversedPlaces } from "./pattern.ts";
import { type Component, type Layout, type Row, spellings, type Table, tables } from "./table.ts";

/** Bytes `start` to `end` of a tensor's data. */
export type Piece = { readonly from: StoredTensor; readonly start: number; readonly end: number };

/** A tensor of the result: its pieces one behind the other are its data. */
export type PlannedTensor = TensorLayout & { readonly pieces: readonly Piece[] };

export type ConversionPlan = {
  readonly component: Component;
  readonly from: Layout;
  readonly to: Layout;
  readonly tensors: readonly PlannedTensor[];
  /** Tensors of the source that are left out on purpose. */
  readonly dropped: readonly { readonly name: string; readonly why: string }[];
  /** Tensors of the source that no row of the table names. */
  readonly unmatched: readonly string[];
  /** Tensors that the result should have and the source does not give, by their name in the result. */
  readonly missing: readonly string[];
};

type Tensors = ReadonlyMap<string, StoredTensor>;

/** One row of the table applied to one tensor of the source. */
type Link = {
  readonly row: Row;
  readonly source: StoredTensor;
  /** Name of the tensor in the result that it goes to. */
  readonly target: string;
  /** Numbers of the diffusers name. */
  readonly indices: readonly number[];
};

/**
 * Finds out how the tensors of one layout make those of the other. Both layouts may be the same, which leaves every
 * tensor as it is.
 * @throws {WeightsError} where a tensor does not divide into the parts that the table takes from it
 */
export function planConversion(
  tensors: Tensors,
  component: Component,
  from: Layout,
  to: Layout,
): ConversionPlan {
  const table = tables[component];
  const dropped: { name: string; why: string }[] = [];
  const unmatched: string[] = [];
  const links: Link[] = [];
  const levels = countLevels(table, tensors, from);
  for (const source of tensors.values()) {
    const found = linksOf(table, source, from, to, levels);
    const drop = table.drops.find(({ name }) => name.test(source.name));
    if (found.length > 0) links.push(...found);
    else if (drop) dropped.push({ name: source.name, why: drop.why });
    else unmatched.push(source.name);
  }
  const summary = { component, from, to, dropped };
  if (from === to)
    return {
      ...summary,
      tensors: [...keep(tensors, dropped)],
      unmatched: [],
      missing: missingNames(table, links, to),
    };
  const joined = joinAll(links, from);
  const missing = missingNames(table, links, to).concat(joined.incomplete);
  return { ...summary, tensors: joined.tensors, unmatched, missing: [...new Set(missing)] };
}

function* keep(tensors: Tensors, dropped: readonly { readonly name: string }[]): Generator<PlannedTensor> {
  const left = new Set(dropped.map(({ name }) => name));
  for (const tensor of tensors.values()) if (!left.has(tensor.name)) yield whole(tensor.name, tensor);
}

function whole(name: string, from: StoredTensor): PlannedTensor {
  return { name, dtype: from.dtype, shape: from.shape, pieces: [{ from, start: 0, end: from.byteLength }] };
}

function linksOf(table: Table, source: StoredTensor, from: Layout, to: Layout, levels: number): Link[] {
  const bare = spellings(table, from, source.name);
  const prefix = table.prefixes[to][0];
  const links: Link[] = [];
  for (const row of table.rows) {
    const found = bare.map((name) => matchPattern(row[from], name)).find((indices) => indices !== undefined);
    if (found === undefined) continue;
    const reversed = reversedPlaces(row.sat);
    const turned = found.map((index, i) => (reversed[i] ? levels - 1 - index : index));
    const target = prefix + fillPattern(row[to], from === to ? found : turned);
    links.push({ row, source, target, indices: from === "diffusers" ? found : turned });
  }
  return links;
}

/** One more than the largest number that the other layout counts from the other end. */
function countLevels(table: Table, tensors: Tensors, from: Layout): number {
  let levels = 0;
  for (const row of table.rows) {
    const place = reversedPlaces(row.sat).indexOf(true);
    if (place < 0) continue;
    for (const name of tensors.keys())
      for (const bare of spellings(table, from, name)) {
        const found = matchPattern(row[from], bare);
        if (found) levels = Math.max(levels, found[place] + 1);
      }
  }
  return levels;
}

function joinAll(links: readonly Link[], from: Layout): { tensors: PlannedTensor[]; incomplete: string[] } {
  const byTarget = new Map<string, Link[]>();
  for (const link of links) byTarget.set(link.target, [...(byTarget.get(link.target) ?? []), link]);
  const tensors: PlannedTensor[] = [];
  const incomplete: string[] = [];
  for (const [target, parts] of byTarget) {
    const joined = join(target, parts, from);
    if (joined) tensors.push(joined);
    else incomplete.push(target);
  }
  return { tensors, incomplete };
}

/** A part of a source and its place in the target, both counted in equal parts along the first axis. */
type Slot = { readonly source: StoredTensor; readonly part: number; readonly place: number };

/** The target put together, or undefined when the source does not hold all of it. */
function join(target: string, links: readonly Link[], from: Layout): PlannedTensor | undefined {
  const { row, source } = links[0];
  if (row.rows === undefined) return whole(target, refuseTwice(target, links));
  const { take, of } = row.rows;
  const [cuts, places] = from === "sat" ? [of, take.length] : [take.length, of];
  const slots = links.flatMap((link): Slot[] =>
    link.row.rows!.take.map((part, i) =>
      from === "sat"
        ? { source: link.source, part, place: i }
        : { source: link.source, part: i, place: part },
    ),
  );
  const ordered = Array.from({ length: places }, (_, place) => slots.filter((slot) => slot.place === place));
  if (ordered.some((found) => found.length === 0)) return undefined;
  const pieces = ordered.map(([slot, twin]) => {
    if (twin) refuseTwice(target, [slot, twin]);
    checkAlike(target, slot.source, source);
    return pieceOf(slot, cuts);
  });
  const shape = source.shape.with(0, (source.shape[0] / cuts) * places);
  return { name: target, dtype: source.dtype, shape, pieces: merge(pieces) };
}

function refuseTwice(target: string, links: readonly { readonly source: StoredTensor }[]): StoredTensor {
  if (links.length > 1)
    throw new WeightsError(
      `${links[0].source.file} holds ${show(links[0].source.name)} and ${show(links[1].source.name)}, which both ` +
        `become ${show(target)}; keep one of them`,
    );
  return links[0].source;
}

function checkAlike(target: string, a: StoredTensor, b: StoredTensor): void {
  const same = a.dtype === b.dtype && a.shape.join() === b.shape.join();
  if (!same)
    throw new WeightsError(
      `${show(target)} is put together from ${show(b.name)}, ${b.dtype} [${b.shape}], and ${show(a.name)}, ` +
        `${a.dtype} [${a.shape}], of ${a.file}; all parts must have one shape and type`,
    );
}

function pieceOf({ source, part }: Slot, cuts: number): Piece {
  const rows = source.shape[0];
  if (rows === undefined || rows % cuts !== 0)
    throw new WeightsError(
      `tensor ${show(source.name)} of ${source.file} has shape [${source.shape}], and its first axis does not divide ` +
        `into the ${cuts} parts that this layout keeps in it; is it a checkpoint of CogVideoX?`,
    );
  const bytes = source.byteLength / cuts;
  return { from: source, start: part * bytes, end: (part + 1) * bytes };
}

/** Neighbours that lie behind each other in the source are one piece. */
function merge(pieces: readonly Piece[]): Piece[] {
  const merged: Piece[] = [];
  for (const piece of pieces) {
    const last = merged.at(-1);
    if (last && last.from === piece.from && last.end === piece.start)
      merged[merged.length - 1] = { ...last, end: piece.end };
    else merged.push(piece);
  }
  return merged;
}

/** Names that the table requires of a model with the parts that were found, and that nothing leads to. */
function missingNames(table: Table, links: readonly Link[], to: Layout): string[] {
  const given = new Set(links.map(({ row, indices }) => `${row.diffusers} ${indices}`));
  const seen = new Map<string, Map<string, readonly number[]>>();
  for (const { row, indices } of links)
    for (const each of withSmaller(indices)) {
      const part = partOf(row.diffusers);
      seen.set(part, (seen.get(part) ?? new Map()).set(String(each), each));
    }
  const levels = Math.max(
    0,
    ...links.map(({ row, indices }) => (row.sat.includes("{-}") ? indices[0] + 1 : 0)),
  );
  const missing: string[] = [];
  for (const row of table.rows) {
    if (row.optional) continue;
    const part = partOf(row.diffusers);
    const expected = part === "" ? [[]] : [...(seen.get(part)?.values() ?? [])];
    const reversed = reversedPlaces(row.sat);
    for (const indices of expected) {
      if (given.has(`${row.diffusers} ${indices}`)) continue;
      const turned = indices.map((index, i) => (to === "sat" && reversed[i] ? levels - 1 - index : index));
      missing.push(table.prefixes[to][0] + fillPattern(row[to], turned));
    }
  }
  return missing;
}

/** A model that has layer 5 has the layers before it too. */
function* withSmaller(indices: readonly number[]): Generator<readonly number[]> {
  yield indices;
  for (const [place, index] of indices.entries())
    for (let smaller = 0; smaller < index; smaller++)
      yield indices.map((value, i) => (i < place ? value : i === place ? smaller : 0));
}

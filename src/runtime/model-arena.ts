/** @file A model of the engine's arena: where blocks would lie, and how much of it would be touched. */

/** A stretch of a region, taken or free; stretches of one region follow each other. */
type Stretch = {
  start: number;
  size: number;
  isFree: boolean;
  before: Stretch | null;
  after: Stretch | null;
};

const ROUND = 256;
const FIRST_REGION = 1 << 20;
const LARGEST_GROWTH = 1 << 30;

/** A free stretch is cut only where it is twice as long as what is asked for, or where so much would be left over. */
const MAX_WASTE = 128 << 20;

/**
 * Counts what an arena of the engine makes resident. It takes the smallest free stretch that is long enough, wastes up to
 * half of it, and grows by regions that double; nothing is given back before the end. Memory that no block has covered is
 * never touched, and costs nothing.
 */
export class ModelArena {
  private readonly free: Stretch[] = [];
  private readonly taken = new Map<number, Stretch>();
  private covered: (readonly [start: number, end: number])[] = [];
  private growth = FIRST_REGION;
  private end = 0;

  /** Takes a block of so many bytes; gives its place, by which it is known. */
  take(bytes: number): number {
    const size = Math.ceil(bytes / ROUND) * ROUND;
    const stretch = this.smallest(size) ?? this.grow(size);
    this.free.splice(this.free.indexOf(stretch), 1);
    if (stretch.size >= 2 * size || stretch.size - size >= MAX_WASTE) this.cut(stretch, size);
    stretch.isFree = false;
    this.taken.set(stretch.start, stretch);
    this.cover(stretch.start, stretch.start + bytes);
    return stretch.start;
  }

  /** Gives a block back, by its place. */
  give(place: number): void {
    let stretch = this.taken.get(place);
    if (stretch === undefined) throw new RangeError(`no block of the arena lies at ${place}`);
    this.taken.delete(place);
    stretch.isFree = true;
    if (stretch.after?.isFree) this.join(stretch, stretch.after);
    if (stretch.before?.isFree) {
      stretch = stretch.before;
      this.join(stretch, stretch.after!);
    } else this.free.push(stretch);
  }

  /** Bytes that blocks have covered at any time. */
  get touched(): number {
    return this.covered.reduce((sum, [start, end]) => sum + end - start, 0);
  }

  private smallest(size: number): Stretch | undefined {
    let best: Stretch | undefined;
    for (const stretch of this.free)
      if (stretch.size >= size && (best === undefined || isBetter(stretch, best))) best = stretch;
    return best;
  }

  private grow(size: number): Stretch {
    const isLarger = size > this.growth;
    while (size > this.growth) this.growth *= 2;
    const stretch = { start: this.end, size: this.growth, isFree: true, before: null, after: null };
    this.end += this.growth;
    if (!isLarger) this.growth = Math.min(2 * this.growth, LARGEST_GROWTH);
    this.free.push(stretch);
    return stretch;
  }

  private cut(stretch: Stretch, size: number): void {
    const { start, after } = stretch;
    const rest = { start: start + size, size: stretch.size - size, isFree: true, before: stretch, after };
    if (after) after.before = rest;
    stretch.after = rest;
    stretch.size = size;
    this.free.push(rest);
  }

  /** Two free stretches become one; the second may be on the list of free ones. */
  private join(first: Stretch, second: Stretch): void {
    const at = this.free.indexOf(second);
    if (at >= 0) this.free.splice(at, 1);
    first.size += second.size;
    first.after = second.after;
    if (second.after) second.after.before = first;
  }

  private cover(start: number, end: number): void {
    const apart = this.covered.filter(([from, to]) => to < start || from > end);
    const touching = this.covered.filter(([from, to]) => to >= start && from <= end);
    const joined = [
      Math.min(start, ...touching.map(([from]) => from)),
      Math.max(end, ...touching.map(([, to]) => to)),
    ] as const;
    this.covered = [...apart, joined];
  }
}

function isBetter(stretch: Stretch, best: Stretch): boolean {
  return stretch.size < best.size || (stretch.size === best.size && stretch.start < best.start);
}

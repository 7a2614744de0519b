/** @file Rows of packed samples shared out so that every rank computes for about as long. */

/**
 * Floating-point multiplications of one sample of n tokens in one block of width d: 24 d² n for the maps and 4 d n² for
 * attention. Long clips cost more than their tokens.
 */
export function sampleCost(tokens: number, width: number): number {
  return 24 * width ** 2 * tokens + 4 * width * tokens ** 2;
}

/** Cost of a row: attention never looks from one sample to another, so costs add up. */
export function rowCost(row: readonly number[], tokens: readonly number[], width: number): number {
  return row.reduce((sum, sample) => sum + sampleCost(tokens[sample], width), 0);
}

/**
 * Indices of the rows that each of `ranks` takes: the costliest rows first, each to the rank with the least to do.
 * Ranks may get different numbers of rows; the loss is weighted by samples of all ranks, so that this changes nothing.
 */
export function balanceRows(costs: readonly number[], ranks: number): number[][] {
  const shares = Array.from({ length: ranks }, () => ({ rows: [] as number[], cost: 0 }));
  const order = costs.map((_, i) => i).toSorted((a, b) => costs[b] - costs[a] || a - b);
  for (const row of order) {
    const least = shares.reduce((best, share) => (share.cost < best.cost ? share : best));
    least.rows.push(row);
    least.cost += costs[row];
  }
  return shares.map(({ rows }) => rows);
}

/** @file Rows of packed samples in an order in which every rank computes for about as long. */

/**
 * Floating-point multiplications of one sample of n tokens in one block of width d: 24 d² n for the maps and 4 d n² for
 * attention. Long clips cost more than their tokens.
 */
export function sampleCost(tokens: number, width: number): number {
  return 24 * width ** 2 * tokens + 4 * width * tokens ** 2;
}

/**
 * Rows in an order in which `ranks` that take turns at them have about as much to do: from the costliest to the
 * cheapest, dealt out there and back. Attention never looks from one sample to another, so costs of a row add up.
 * @param rows tokens of every sample of every row
 * @param width of the transformer
 * @returns indices of the rows
 */
export function dealtRows(
  rows: readonly (readonly number[])[],
  { width, ranks }: { readonly width: number; readonly ranks: number },
): number[] {
  const costs = rows.map((tokens) => tokens.reduce((sum, count) => sum + sampleCost(count, width), 0));
  const order = rows.map((_, i) => i).toSorted((a, b) => costs[b] - costs[a] || a - b);
  const rounds = Array.from({ length: Math.ceil(rows.length / ranks) }, (_, round) =>
    order.slice(round * ranks, (round + 1) * ranks),
  );
  return rounds.flatMap((round, i) => (i % 2 === 0 ? round : round.toReversed()));
}

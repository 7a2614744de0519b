/** @file Polynomials: their values, and the one that lies nearest to some points. */

/** The value of a polynomial, highest power first, by Horner's rule. */
export function valueAt(coefficients: readonly number[], x: number): number {
  return coefficients.reduce((sum, coefficient) => sum * x + coefficient, 0);
}

/** What is left of a norm where the points are too few to tell a power from lower ones. */
const NOTHING = 1e-18;

/**
 * The polynomial of at most a degree with the least squares of its differences from points (x, y), highest power first. It is
 * a sum of polynomials that are orthogonal over the points (Forsythe 1957), which stays exact where powers of small numbers
 * hardly differ. Fewer points than the degree asks for give a lower one.
 */
export function fitPolynomial(xs: readonly number[], ys: readonly number[], degree: number): number[] {
  const span = Math.max(...xs) - Math.min(...xs);
  // Lowest power first, in here.
  let [before, current]: number[][] = [[], [1]];
  let normBefore = Number.POSITIVE_INFINITY;
  const fitted = Array<number>(degree + 1).fill(0);
  for (let power = 0; power <= degree; power++) {
    const values = xs.map((x) => valueAt(current.toReversed(), x));
    const norm = dot(values, values);
    if (power > 0 && norm <= NOTHING * normBefore * span ** 2) break;
    const factor = dot(values, ys) / norm;
    for (const [i, coefficient] of current.entries()) fitted[i] += factor * coefficient;
    const centre = dot(
      values,
      values.map((value, i) => value * xs[i]),
    );
    const next = [0, ...current].map(
      (shifted, i) => shifted - (centre / norm) * (current[i] ?? 0) - (norm / normBefore) * (before[i] ?? 0),
    );
    [before, current, normBefore] = [current, next, norm];
  }
  return fitted.reverse();
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

/** @file Polynomials through points, and nearest to points. */
import { expect, test } from "vitest";
import { fitPolynomial, valueAt } from "./polynomial.ts";

const xs = [0.38, 0.23, 0.237, 0.132, 0.089, 0.165, 0.071, 0.1375, 0.05];

test("one that goes through all points is found again", () => {
  const known = [-1.5e3, 8e2, -1.3e2, 8, -0.05];
  const ys = xs.map((x) => valueAt(known, x));
  expect(fitPolynomial(xs, ys, 4)).toBeCloseToArray(known, { rtol: 1e-8 });
});

test("among those that go through none, it is the one that numpy.polyfit finds", () => {
  const ys = [0.25, 0.32, 0.245, 0.042, 0.074, 0.107, 0.047, 0.06, 0.02];
  const theirs = [
    -552.3932424999939, 383.1798120992478, -81.8656932912291, 7.205410703686818, -0.17466102014281568,
  ];
  expect(fitPolynomial(xs, ys, 4)).toBeCloseToArray(theirs, { rtol: 1e-8 });
});

test("points that are too few for the degree give a lower one", () => {
  expect(fitPolynomial([0.1, 0.3], [1, 2], 4)).toBeCloseToArray([0, 0, 0, 5, 0.5], { atol: 1e-12 });
  expect(fitPolynomial([0.1, 0.1], [1, 2], 4)).toEqual([0, 0, 0, 0, 1.5]);
});

/** @file Shapes: broadcasting, reshaping, axes and windows. */
import { describe, expect, test } from "vitest";
import { ShapeError } from "../errors.ts";
import { axisOf, broadcast, reshapeTo, sameShape, sizeOf, sliceLength, windowLength } from "./shape.ts";

test("a scalar has one element, an empty axis none", () => {
  expect([sizeOf([]), sizeOf([2, 3]), sizeOf([2, 0])]).toEqual([1, 6, 0]);
});

test("shapes are the same only when rank and every axis agree", () => {
  expect(sameShape([2, 3], [2, 3])).toBe(true);
  expect(sameShape([2, 3], [3, 2])).toBe(false);
  expect(sameShape([2], [2, 1])).toBe(false);
});

describe("broadcasting", () => {
  test.each([
    [[2, 3], [3], [2, 3]],
    [
      [2, 1],
      [1, 4],
      [2, 4],
    ],
    [[], [5, 6], [5, 6]],
    [[1], [], [1]],
    [
      [4, 1, 2],
      [3, 1],
      [4, 3, 2],
    ],
  ])("takes %j and %j to %j", (a, b, expected) => {
    expect(broadcast(a, b)).toEqual(expected);
    expect(broadcast(b, a)).toEqual(expected);
  });

  test("refuses axes that differ and are not one", () => {
    expect(() => broadcast([2, 3], [2])).toThrow(new ShapeError("cannot broadcast [2, 3] with [2]"));
  });
});

describe("reshaping", () => {
  test("fills in one free axis", () => {
    expect(reshapeTo([2, 6], [3, -1])).toEqual([3, 4]);
    expect(reshapeTo([], [-1])).toEqual([1]);
  });

  test.each([
    ["another element count", [2, 3], [4]],
    ["a count the free axis cannot reach", [2, 3], [4, -1]],
    ["two free axes", [2, 3], [-1, -1]],
    ["a negative axis", [2, 3], [-2, -3]],
    ["a broken axis", [2, 3], [1.5, 4]],
  ])("refuses %s", (_, from, to) => {
    expect(() => reshapeTo(from, to)).toThrow(ShapeError);
  });

  test("names both shapes and the count", () => {
    expect(() => reshapeTo([2, 3], [4])).toThrow(
      "cannot reshape [2, 3] (6 elements) to [4]; the products must agree",
    );
  });
});

describe("axes", () => {
  test("count from either end", () => {
    expect([axisOf(0, 3), axisOf(2, 3), axisOf(-1, 3), axisOf(-3, 3)]).toEqual([0, 2, 2, 0]);
  });

  test.each([3, -4, 0.5])("%s is outside rank 3", (axis) => {
    expect(() => axisOf(axis, 3)).toThrow(`axis ${axis} is outside a tensor of rank 3`);
  });
});

describe("slices", () => {
  test.each([
    [0, 5, 1, 5],
    [1, 4, 2, 2],
    [-2, 5, 1, 2],
    [0, -1, 1, 4],
    [-99, 99, 3, 2],
    [4, 2, 1, 0],
  ])("%s:%s:%s of five elements has length %s", (start, end, step, length) => {
    expect(sliceLength(start, end, step, 5)).toBe(length);
  });

  test("refuse steps below one", () => {
    expect(() => sliceLength(0, 5, 0, 5)).toThrow("slice steps must be at least 1, got 0");
  });
});

describe("windows", () => {
  const plain = { kernel: 3, stride: 1, before: 0, after: 0, dilation: 1 };

  test("shrink an axis by the kernel, grow it by the padding, divide it by the stride", () => {
    expect(windowLength(7, plain)).toBe(5);
    expect(windowLength(7, { ...plain, before: 1, after: 1 })).toBe(7);
    expect(windowLength(7, { ...plain, stride: 2 })).toBe(3);
    expect(windowLength(7, { ...plain, dilation: 2 })).toBe(3);
  });

  test("must fit", () => {
    expect(() => windowLength(2, plain)).toThrow("a window of 3 does not fit an axis of 2 padded by 0 and 0");
  });
});

/** @file Timestep features against values of the reference. */
import { expect, test } from "vitest";
import { timestepFeatures } from "./timestep.ts";

/** Channels 0, 1, 7, 100, 959 (cosines) and 960, 961, 967, 1060, 1919 (sines) of width 1920. */
const channels = [0, 1, 7, 100, 959, 960, 961, 967, 1060, 1919];
const expected = {
  999: [
    0.99964982, -0.99016261, -0.48997325, 0.85834092, 0.99491763, -0.026460752, 0.13992153, -0.87173748,
    -0.51307982, 0.10069211,
  ],
  500: [
    -0.88384926, 0.41236466, -0.83979088, -0.9969731, 0.99872607, -0.4677718, -0.91101885, 0.54291004,
    0.077747159, 0.050460562,
  ],
  1: [
    0.54030234, 0.54831213, 0.59378076, 0.92750335, 1, 0.84147096, 0.83627379, 0.80462688, 0.37381485,
    0.000100964,
  ],
  0: [1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
};

test.each(Object.entries(expected))("timestep %s has the reference's features", (timestep, values) => {
  const row = timestepFeatures([Number(timestep)], 1920);
  expect(channels.map((channel) => row[channel])).toBeCloseToArray(values, { atol: 2e-6 });
});

test("the value 2 of the ofs embedding has the reference's features", () => {
  const row = timestepFeatures([2], 512);
  expect([0, 1, 100, 255, 256, 257, 356, 511].map((channel) => row[channel])).toBeCloseToArray(
    [-0.41614684, -0.35089517, 0.99850059, 1, 0.90929741, 0.93641478, 0.05474101, 0.00020732665],
    { atol: 1e-6 },
  );
});

test("a frequency shift stretches the frequencies", () => {
  expect(timestepFeatures([17], 8, 1)).toBeCloseToArray(
    [-0.27516335, 0.70450556, 0.99932939, 0.99999857, -0.96139747, 0.7096985, 0.036617205, 0.001699999],
    { atol: 1e-6 },
  );
});

test("every value has a row of its own", () => {
  const both = timestepFeatures([999, 500], 16);
  expect(both.slice(0, 16)).toEqual(timestepFeatures([999], 16));
  expect(both.slice(16)).toEqual(timestepFeatures([500], 16));
});

/** @file Tests of metrics: what is added is read, and a resume leaves neither half lines nor steps of another future. */
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { type Metrics, openMetrics, readMetrics, seriesOf } from "./metrics.ts";

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogvideox-metrics-"));
  file = join(folder, "metrics.jsonl");
});
afterEach(() => rm(folder, { recursive: true }));

async function add(lastStep: number, ...steps: number[]): Promise<void> {
  const metrics = await openMetrics(file, lastStep);
  for (const step of steps) await metrics.add({ step, loss: 1 / step });
  await metrics.sync();
  await metrics.close();
}

test("gives what was added, also numbers that JSON does not have", async () => {
  const metrics = await openMetrics(file, 0);
  const lines: Metrics[] = [
    { step: 1, loss: 0.5, kind: "train", held: null, done: false },
    { step: 2, loss: Number.NaN, rate: Number.POSITIVE_INFINITY },
    { step: 3, loss: Number.NEGATIVE_INFINITY },
  ];
  await Promise.all(lines.map((line) => metrics.add(line)));
  await metrics.close();
  expect(await readMetrics(file)).toEqual(lines);
});

test("gives nothing where there is no file", async () => {
  expect(await readMetrics(file)).toEqual([]);
});

test("gives the series of a metric where it was measured", async () => {
  const series = seriesOf(
    [
      { step: 1, loss: 3 },
      { step: 2, psnr: 20 },
      { step: 3, loss: 2 },
    ],
    "loss",
  );
  expect(series).toEqual({ steps: [1, 3], values: [3, 2] });
});

test("drops a line that was cut off, and steps after the one that the run goes on from", async () => {
  await add(0, 1, 2, 3, 4);
  await appendFile(file, '{"step":5,"lo');
  expect((await readMetrics(file)).map(({ step }) => step)).toEqual([1, 2, 3, 4]);
  await add(2, 3);
  expect((await readMetrics(file)).map(({ step }) => step)).toEqual([1, 2, 3]);
});

test("leaves a file alone that needs no cut", async () => {
  await add(0, 1, 2);
  const before = await readFile(file, "utf8");
  await add(2);
  expect(await readFile(file, "utf8")).toBe(before);
});

test("starts anew from step 0", async () => {
  await add(0, 1, 2);
  await add(0, 1);
  expect(await readMetrics(file)).toEqual([{ step: 1, loss: 1 }]);
});

test("names the line that is not a run's", async () => {
  await writeFile(file, '{"step":1}\nhello\n');
  await expect(readMetrics(file)).rejects.toThrow(ConfigError);
  await expect(readMetrics(file)).rejects.toThrow("line 2 of");
});

/** @file Caches on the command line, in every mode and together with guidance that changes the batch. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { copyCheckpoint } from "../helpers/tiny-checkpoint.ts";

const root = "test/fixtures/checkpoints";

async function generate(model: string, args: readonly string[]) {
  const output = join(temporaryFolder(), "clip.gif");
  const size = ["--width", "64", "--height", "48", "--frames", "9", "--steps", "6", "--seed", "1"];
  const call = ["generate", "A red circle.", "--model", model, ...size, "-o", output, "--json", ...args];
  return cogvideox(call);
}

async function evaluations(model: string, args: readonly string[]) {
  const ended = await generate(model, args);
  expect(ended.stderr).not.toMatch(/error/);
  return jsonLines(ended).find(({ event }) => event === "evaluations") as unknown as {
    blocks: { done: number; skipped: number };
    attentions: { done: number; skipped: number };
  };
}

async function picture(): Promise<string> {
  const file = join(temporaryFolder(), "image.png");
  await sharp({ create: { width: 64, height: 48, channels: 3, background: "red" } }).toFile(file);
  return file;
}

describe("caches work", () => {
  test("in image to video", async () => {
    const args = ["--image", await picture(), "--cache", "taylorseer:interval=3"];
    const { blocks } = await evaluations(join(root, "i2v-learned"), args);
    expect(blocks.skipped).toBe(blocks.done / 2);
  });

  test.each([
    ["spatio-temporal guidance", ["--stg", "1", "--stg-layers", "1"], 3 * 3 * 6],
    ["no guidance", ["--guidance", "1"], 3 * 6],
    ["a guidance interval", ["--guidance-interval", "0,0.5"], 2 * 3 * 3 + 3 * 3],
  ])("with %s", async (_, args, total) => {
    const { attentions } = await evaluations(join(root, "t2v-rope"), [
      ...args,
      "--cache",
      "pab:from=-1,to=1000",
    ]);
    expect(attentions.done + attentions.skipped).toBe(total);
    expect(attentions.skipped).toBeGreaterThan(0);
  });
});

test("magcache wants its ratios, and finds what calibrate has measured", async () => {
  const model = copyCheckpoint("t2v-rope");
  const refused = await generate(model, ["--cache", "magcache"]);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toMatch(/there is no .*magcache\.json; measure them with cogvideox calibrate/);
  const size = ["--width", "64", "--height", "48", "--frames", "9", "--steps", "6"];
  const measured = await cogvideox(["calibrate", "--model", model, ...size]);
  expect(measured.stdout.trim()).toBe(join(model, "magcache.json"));
  const { blocks } = await evaluations(model, ["--cache", "magcache:threshold=100,retention=0"]);
  expect(blocks).toEqual({ done: 2 * 3 * 2, skipped: 2 * 3 * 4 });
});

test("teacache takes the polynomial that calibrate has fitted, from the model's folder or from a file", async () => {
  const model = copyCheckpoint("t2v-rope");
  const file = join(model, "magcache.json");
  const size = ["--width", "64", "--height", "48", "--frames", "9", "--steps", "6"];
  await cogvideox(["calibrate", "--model", model, ...size]);
  const measured = JSON.parse(readFileSync(file, "utf8"));
  expect(measured.coefficients).toHaveLength(5);
  const before = await evaluations(model, ["--cache", "teacache"]);
  const constant = join(temporaryFolder(), "constant.json");
  const computed = async (foretold: number, args: string, to = file) => {
    writeFileSync(to, JSON.stringify({ ...measured, coefficients: [0, 0, 0, 0, foretold] }));
    return (await evaluations(model, ["--cache", args])).blocks.done / (2 * 3);
  };
  // The first and the last of the 6 steps, and those whose sum of 0.04 each reaches 0.1.
  expect(await computed(0.04, "teacache")).toBe(3);
  expect(await computed(1, "teacache")).toBe(6);
  expect(await computed(0, `teacache:coefficients=${constant}`, constant)).toBe(2);
  writeFileSync(file, JSON.stringify(measured));
  expect(await evaluations(model, ["--cache", "teacache"])).toEqual(before);
  const refused = await generate(model, [
    "--cache",
    `teacache:coefficients=${join(model, "model_index.json")}`,
  ]);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toMatch(
    /model_index\.json holds no polynomial for teacache; measure it with cogvideox calibrate/,
  );
});

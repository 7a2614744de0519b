/** @file Whatever a configuration file holds, reading it gives a configuration or a sentence, never an accident. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { noiseSchedule, parseSchedulerConfig } from "../../src/diffusion/schedule.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { readPipelineClass } from "../../src/pipeline/checkpoint.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const SOURCE = "folder/config.json";

const readers = {
  "transformer/config.json": parseTransformerConfig,
  "text_encoder/config.json": parseT5Config,
  "vae/config.json": parseVaeConfig,
  "scheduler/scheduler_config.json": (json: unknown, source: string) => {
    const config = parseSchedulerConfig(json, source);
    if (config.numTrainTimesteps <= 10_000) noiseSchedule(config);
    return config;
  },
};

/** Values that break readers more often than random JSON does. */
const nasty = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>(null, 0, -1, 0.5, 1e308, -1e308, 2 ** 53, "", "64", [], [[]], {}, true, false),
  fc.constantFrom<unknown>({ length: 4 }, { toString: 1 }, ["__proto__"], { constructor: null }),
);

describe.each(Object.entries(readers))("%s", (file, read) => {
  const valid = JSON.parse(readFileSync(join(recorded("t2v-rope"), file), "utf8"));

  test("any JSON at all is read or refused with the file's name", () => {
    fc.assert(fc.property(nasty, (json) => expectSentence(() => read(json, SOURCE))));
  });

  test("a valid file with one or two fields replaced is read or refused with the file's name", () => {
    const change = fc.dictionary(fc.constantFrom(...Object.keys(valid)), nasty, { minKeys: 1, maxKeys: 2 });
    fc.assert(
      fc.property(change, (fields) => expectSentence(() => read({ ...valid, ...fields }, SOURCE))),
      { numRuns: 1000 },
    );
  });

  test("a field that is missing takes its default or is refused", () => {
    for (const key of Object.keys(valid)) {
      const { [key]: _, ...rest } = valid;
      expectSentence(() => read(rest, SOURCE));
    }
  });
});

describe("model_index.json", () => {
  const folder = mkdtempSync(join(tmpdir(), "cogvideox-fuzz-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "model_index.json");

  test("any bytes at all are read or refused with the file's name", async () => {
    const content = fc.oneof(
      fc.uint8Array().map((bytes) => Buffer.from(bytes)),
      nasty.map((json) => JSON.stringify(json)),
      nasty.map((name) => JSON.stringify({ _class_name: name })),
      fc.string().map((text) => `{"_class_name": "CogVideoXPipeline"${text}}`),
    );
    await fc.assert(
      fc.asyncProperty(content, async (bytes) => {
        writeFileSync(file, bytes);
        const result = await readPipelineClass(folder).catch((error: Error) => error);
        if (result instanceof Error) expectNamed(result, file);
        else expect(result).toBe("CogVideoXPipeline");
      }),
    );
  });
});

function expectSentence(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    expectNamed(error as Error, SOURCE);
  }
}

function expectNamed(error: Error, file: string): void {
  expect(["ConfigError", "WeightsError"]).toContain(error.name);
  expect(error.message).toContain(file);
  expect(error.message.length).toBeLessThan(2000);
}

/** @file Runs that are stopped end soon, with 130, and leave nothing behind. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { cogvideoxProcess, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const model = recorded("t2v-sincos");
const PROMPT = "A red circle moves left, on a plain background.";

test("an interrupt between segments ends the run, and no file is left", async () => {
  const out = temporaryFolder();
  const files = ["-o", join(out, "clip.mp4"), "--save-latents", join(out, "latents.safetensors")];
  const args = ["generate", PROMPT, "--model", model, "--steps", "1000", "--seed", "1", ...files, "--json"];
  const ended = await cogvideoxProcess(args, {
    onStderr: (text) => (text.includes("step 2/1000") ? "SIGINT" : undefined),
  });
  expect(ended.status).toBe(130);
  expect(ended.stderr).toMatch(/stopped before /);
  expect(jsonLines(ended).at(-1)).toMatchObject({ event: "error", name: "CancelledError" });
  expect(readdirSync(out)).toEqual([]);
});

test("a reader that closes the pipe ends the run, and no file is left", async () => {
  const out = temporaryFolder();
  const args = ["--model", model, "--steps", "1000", "--seed", "1", "-o", join(out, "clip.mp4"), "--json"];
  const ended = await cogvideoxProcess(["generate", PROMPT, ...args], {
    onStdout: async (text, stream) => {
      if (text.includes('"step"')) stream.destroy();
      return undefined;
    },
  });
  expect(ended.status).toBe(130);
  expect(ended.stderr).not.toMatch(/EPIPE|\n {4}at /);
  expect(readdirSync(out)).toEqual([]);
});

test("a benchmark that is interrupted removes its weights", async () => {
  const out = temporaryFolder();
  const ended = await cogvideoxProcess(["bench", "dit", "--layers", "1", "--runs", "1000"], {
    env: { TMPDIR: out },
    onStderr: (text) => (text.includes("writing") ? "SIGTERM" : undefined),
  });
  expect(ended.status).toBe(130);
  expect(readdirSync(out).filter((name) => name.startsWith("cogvideox-bench"))).toEqual([]);
});

/** 45,000 tokens: minutes for a block, of which no test waits for the end. */
const LONG = ["--width", "1360", "--height", "768", "--frames", "81"];

test("an interrupt in the middle of a long segment does not wait for its end, and no file is left", async () => {
  const out = temporaryFolder();
  const files = ["-o", join(out, "clip.mp4"), "--save-frames", join(out, "frames.safetensors")];
  const args = ["--model", recorded("t2v-rope"), "--seed", "1", ...LONG, ...files, "--json"];
  let interrupted = Number.POSITIVE_INFINITY;
  let begun: readonly string[] = [];
  const ended = await cogvideoxProcess(["generate", PROMPT, ...args], {
    onStdout: async (text) => {
      if (!text.includes('"encoded"')) return undefined;
      begun = readdirSync(out);
      // By then the first block is running. Were it not, the run would stop before it, with the same outcome.
      await sleep(1000);
      interrupted = performance.now();
      return "SIGINT";
    },
  });
  expect(ended.status).toBe(130);
  expect(ended.stderr).toContain("stopping\n");
  // The promise is about one second; without it this would take minutes.
  expect(performance.now() - interrupted).toBeLessThan(5000);
  expect(begun).toHaveLength(1);
  expect(readdirSync(out)).toEqual([]);
});

/** @file Tests of when frames are shown, read from packets and by decoding. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { decodedTimestamps, readTimestamps } from "./read.ts";
import { createVideoWriter } from "./write.ts";

const folder = mkdtempSync(join(tmpdir(), "timestamps-"));
afterAll(() => rmSync(folder, { recursive: true }));
const hasFfmpeg = spawnSync("ffmpeg", ["-version"]).status === 0;

test.each(["a.mp4", "a.webm", "a.mkv", "a.gif", "a-png"])("of %s are those of the decoder", async (name) => {
  const file = join(folder, name);
  const writer = await createVideoWriter(file, { width: 16, height: 16, fps: 8 });
  for (let i = 0; i < 12; i++) await writer.write(new Uint8Array(16 * 16 * 3).fill(20 * i));
  await writer.finish();
  const times = await readTimestamps(file);
  expect(times).toHaveLength(12);
  expect(times).toBeCloseToArray(
    Float64Array.from(times, (_, i) => i / 8),
    { atol: 0.006 },
  );
  expect(await decodedTimestamps(file)).toEqual(times);
});

test.skipIf(!hasFfmpeg)("go on at the same pace where a stream does not tell them", async () => {
  const file = join(folder, "a.mpg");
  const source = [
    "-f",
    "lavfi",
    "-i",
    "testsrc=size=64x48:rate=24:duration=1",
    "-bf",
    "2",
    "-c:v",
    "mpeg2video",
  ];
  expect(spawnSync("ffmpeg", ["-v", "error", ...source, file]).status).toBe(0);
  const times = await readTimestamps(file);
  expect(times).toBeCloseToArray(
    Float64Array.from({ length: 24 }, (_, i) => i / 24),
    { atol: 1e-4 },
  );
});

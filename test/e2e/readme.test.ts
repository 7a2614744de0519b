/** @file What the README shows works as it stands there. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { shellWords } from "../../scripts/shell-words.ts";
import { readClip } from "../../src/data/shapes/reader/read.ts";
import { readVideo } from "../../src/media/read.ts";
import { cogvideoxProcess, runProcess, temporaryFolder } from "../helpers/command-line.ts";
import { hasFfprobe, probe } from "../helpers/ffprobe.ts";

const project = process.cwd();
const readme = readFileSync(join(project, "README.md"), "utf8");
const example = "examples/01-text-to-video.ts";
const clip = [{ codec_name: "h264", width: 64, height: 64, nb_read_frames: "17" }];

test("the first command makes a video that shows something red, with the model that comes along", async ({
  skip,
}) => {
  const line = readme.split("\n").find((text) => text.startsWith("npx cogvideox generate "))!;
  const cwd = temporaryFolder();
  const ended = await cogvideoxProcess([...shellWords(line).slice(2), "--seed", "1"], { cwd });
  const file = join(cwd, "video-1.mp4");
  expect(ended).toMatchObject({ status: 0, stdout: `${file}\n` });
  expect(line).toContain("red");
  expect(await coloursIn(file)).toContain("red");
  if (!hasFfprobe()) skip("ffprobe is not installed");
  expect(probe(file)).toMatchObject(clip);
});

test("the program is the example, which makes a video", async ({ skip }) => {
  const [, program] = /```ts\n([\s\S]*?)```/.exec(readme)!;
  expect(readFileSync(join(project, example), "utf8")).toContain(program);
  const cwd = temporaryFolder();
  const ended = await runProcess(["--import", import.meta.resolve("tsx"), join(project, example)], { cwd });
  expect(ended).toEqual({ status: 0, stdout: "", stderr: "" });
  if (!hasFfprobe()) skip("ffprobe is not installed");
  expect(probe(join(cwd, "out.mp4"))).toMatchObject(clip);
});

/** Colours of the objects that the exact reader sees. */
async function coloursIn(file: string): Promise<string[]> {
  const parts: Uint8Array[] = [];
  let size = { width: 0, height: 0 };
  for await (const { rgb, width, height } of readVideo(file)) {
    parts.push(Uint8Array.from(rgb));
    size = { width, height };
  }
  const reading = readClip(Uint8Array.from(Buffer.concat(parts)), { ...size, frames: parts.length });
  return reading.objects.map(({ colour }) => colour as string);
}

/** @file What the README shows works as it stands there. */
import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { shellWords } from "../../scripts/shell-words.ts";
import { cogvideoxProcess, runProcess, temporaryFolder } from "../helpers/command-line.ts";
import { hasFfprobe, probe } from "../helpers/ffprobe.ts";

const project = process.cwd();
const readme = readFileSync(join(project, "README.md"), "utf8");
const example = "examples/01-text-to-video.ts";

test("the first command makes a video", async ({ skip }) => {
  const line = readme.split("\n").find((text) => text.startsWith("npx cogvideox generate "))!;
  const cwd = likeTheProject();
  const ended = await cogvideoxProcess(shellWords(line).slice(2), { cwd });
  expect(ended).toMatchObject({ status: 0, stdout: `${join(cwd, "out.mp4")}\n` });
  if (!hasFfprobe()) skip("ffprobe is not installed");
  expect(probe(join(cwd, "out.mp4"))).toMatchObject([{ codec_name: "h264", nb_read_frames: "9" }]);
});

test("the program is the example, which makes a video", async ({ skip }) => {
  const [, program] = /```ts\n([\s\S]*?)```/.exec(readme)!;
  expect(readFileSync(join(project, example), "utf8")).toContain(program);
  const cwd = likeTheProject();
  const ended = await runProcess(["--import", import.meta.resolve("tsx"), join(project, example)], { cwd });
  expect(ended).toEqual({ status: 0, stdout: "", stderr: "" });
  if (!hasFfprobe()) skip("ffprobe is not installed");
  expect(probe(join(cwd, "out.mp4"))).toMatchObject([{ codec_name: "h264", nb_read_frames: "9" }]);
});

/** A folder that is removed when the test ends, from which the paths to the project's test files hold. */
function likeTheProject(): string {
  const folder = temporaryFolder();
  symlinkSync(join(project, "test"), join(folder, "test"));
  return folder;
}

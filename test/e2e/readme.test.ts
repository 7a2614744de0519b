/** @file What the README shows works as it stands there. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { shellWords } from "../../scripts/shell-words.ts";
import { readClip } from "../../src/data/shapes/reader/read.ts";
import { renderScene } from "../../src/data/shapes/render.ts";
import type { Scene } from "../../src/data/shapes/scene.ts";
import { readVideo } from "../../src/media/read.ts";
import { cogvideoxProcess, runProcess, temporaryFolder } from "../helpers/command-line.ts";
import { hasFfprobe, probe } from "../helpers/ffprobe.ts";

const project = process.cwd();
const readme = readFileSync(join(project, "README.md"), "utf8");
const example = "examples/01-text-to-video.ts";
const clip = [{ codec_name: "h264", width: 64, height: 64, nb_read_frames: "17" }];

test("the first command makes a video that shows what it says, with the model that comes along", async ({
  skip,
}) => {
  const line = readme.split("\n").find((text) => text.startsWith("npx cogvideox generate "))!;
  const cwd = temporaryFolder();
  const ended = await cogvideoxProcess([...shellWords(line).slice(2), "--seed", "1"], { cwd });
  const file = join(cwd, "video-1.mp4");
  expect(ended).toMatchObject({ status: 0, stdout: `${file}\n` });
  expect(line).toContain("a red circle moves right");
  expect(await objectsIn(file)).toMatchObject([{ colour: "red", shape: "circle", motion: "right" }]);
  if (!hasFfprobe()) skip("ffprobe is not installed");
  expect(probe(file)).toMatchObject(clip);
});

test("a picture without a model begins a clip of nano's sibling", async () => {
  const cwd = temporaryFolder();
  const [colour, shape, motion] = ["blue", "star", "left"] as const;
  const object = { colour, shape, motion, size: "large", radius: 0.18, travel: 0.385, turn: 0 } as const;
  const scene: Scene = {
    objects: [{ ...object, x: 0.5, y: 0.5 }],
    background: { tone: "black", pattern: "plain" },
    camera: "still",
  };
  const raw = { width: 64, height: 64, channels: 3 } as const;
  const start = renderScene(scene, { ...raw, frames: 1 });
  await sharp(start, { raw }).png().toFile(join(cwd, "start.png"));
  const line = ["generate", "a blue star moves left", "--image", "start.png", "--steps", "20", "--seed", "1"];
  expect(await cogvideoxProcess(line, { cwd })).toMatchObject({ status: 0 });
  expect(await objectsIn(join(cwd, "video-1.mp4"))).toMatchObject([{ colour, shape, motion }]);
});

test("the program is the example, which makes a video", async ({ skip }) => {
  const [, program] = /```ts\n([\s\S]*?)```/.exec(readme)!;
  expect(readFileSync(join(project, example), "utf8")).toContain(program);
  const cwd = temporaryFolder();
  // In a checkout it is tsconfig.json that says where the sources of "cogvideox" are.
  const env = { TSX_TSCONFIG_PATH: join(project, "tsconfig.json") };
  const ended = await runProcess(["--import", import.meta.resolve("tsx"), join(project, example)], {
    cwd,
    env,
  });
  expect(ended).toEqual({ status: 0, stdout: "", stderr: "" });
  if (!hasFfprobe()) skip("ffprobe is not installed");
  expect(probe(join(cwd, "out.mp4"))).toMatchObject(clip);
});

/** The objects that the exact reader sees. */
async function objectsIn(file: string) {
  const parts: Uint8Array[] = [];
  let size = { width: 0, height: 0 };
  for await (const { rgb, width, height } of readVideo(file)) {
    parts.push(Uint8Array.from(rgb));
    size = { width, height };
  }
  return readClip(Uint8Array.from(Buffer.concat(parts)), { ...size, frames: parts.length }).objects;
}

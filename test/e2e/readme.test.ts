/** @file What the README shows works as it stands there. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, test } from "vitest";
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

describe("without a model, nano's siblings take what is given beside the prompt", () => {
  const [colour, shape, motion] = ["blue", "star", "left"] as const;
  const object = { colour, shape, motion, size: "large", radius: 0.18, travel: 0.385, turn: 0 } as const;
  const scene: Scene = {
    objects: [{ ...object, x: 0.5, y: 0.5 }],
    background: { tone: "black", pattern: "plain" },
    camera: "still",
  };
  const [frames, bytes] = [17, 3 * 64 * 64];
  const rgb = renderScene(scene, { width: 64, height: 64, frames });
  const made = async (prompt: string, cwd: string, ...options: readonly string[]) => {
    const line = ["generate", prompt, ...options, "--steps", "20", "--seed", "1"];
    expect(await cogvideoxProcess(line, { cwd })).toMatchObject({ status: 0 });
    return objectsIn(join(cwd, "video-1.mp4"));
  };
  const writePicture = (file: string, frame: number) =>
    sharp(rgb.subarray(frame * bytes, (frame + 1) * bytes), { raw: { width: 64, height: 64, channels: 3 } })
      .png()
      .toFile(file);

  test("a first picture", async () => {
    const cwd = temporaryFolder();
    await writePicture(join(cwd, "start.png"), 0);
    const found = await made("a blue star moves left", cwd, "--image", "start.png");
    expect(found).toMatchObject([{ colour, shape, motion }]);
  });

  test("pictures at both ends, which say where it is and on what ground", async () => {
    const cwd = temporaryFolder();
    await writePicture(join(cwd, "start.png"), 0);
    await writePicture(join(cwd, "end.png"), frames - 1);
    const ends = ["--start-image", "start.png", "--end-image", "end.png"];
    expect(await made("a blue star moves left", cwd, ...ends)).toMatchObject([{ colour, shape, motion }]);
    expect(await overlaps(join(cwd, "video-1.mp4"))).toEqual(Array(frames).fill(true));
  });

  test("a video of edges, which say where it is while the prompt says its colour", async () => {
    const cwd = temporaryFolder();
    mkdirSync(join(cwd, "frames"));
    for (let frame = 0; frame < frames; frame++)
      await writePicture(join(cwd, "frames", `${frame}.png`), frame);
    const drawn = await cogvideoxProcess(["data", "edges", "frames", "-o", "edges.mp4"], { cwd });
    expect(drawn).toMatchObject({ status: 0 });
    const found = await made("a red star moves left", cwd, "--control", "edges.mp4");
    expect(found).toMatchObject([{ colour: "red", shape, motion }]);
    expect(await overlaps(join(cwd, "video-1.mp4"))).toEqual(Array(frames).fill(true));
  }, 120_000);

  /** Frame by frame, whether at least half of what either shows before its ground is shown by both. */
  async function overlaps(file: string): Promise<boolean[]> {
    const found: boolean[] = [];
    for await (const frame of readVideo(file)) {
      const wanted = rgb.subarray(found.length * bytes, (found.length + 1) * bytes);
      const [ours, theirs] = [foreground(frame.rgb), foreground(wanted)];
      const both = ours.filter((is, i) => is && theirs[i]).length;
      const either = ours.filter((is, i) => is || theirs[i]).length;
      found.push(both > either / 2);
    }
    return found;
  }
});

/** Pixels that are far from the colour of the corner. */
function foreground(rgb: Uint8Array): boolean[] {
  return Array.from({ length: rgb.length / 3 }, (_, i) =>
    [0, 1, 2].some((channel) => Math.abs(rgb[3 * i + channel] - rgb[channel]) > 60),
  );
}

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

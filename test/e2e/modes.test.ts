/** @file Modes on the command line: what fits together, what does not, and pictures as people have them. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { readHeader } from "../../src/weights/safetensors.ts";
import { writeSafetensors } from "../../src/weights/write.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";

const root = "test/fixtures/checkpoints";
const prompt = "A red circle moves left.";
const clip = "test/fixtures/media/clips/odd.mp4";

/** Frames of one colour each, `frame_0.png` and so on. */
async function folderOfFrames(count: number): Promise<string> {
  const folder = join(temporaryFolder(), "frames");
  mkdirSync(folder);
  for (let i = 0; i < count; i++) {
    const background = { r: 10 * i, g: 100, b: 200 };
    const frame = sharp({ create: { width: 32, height: 24, channels: 3, background } });
    await frame.toFile(join(folder, `frame_${i}.png`));
  }
  return folder;
}

async function generate(checkpoint: string, args: readonly string[]) {
  const output = join(temporaryFolder(), "clip.gif");
  const model = ["--model", join(root, checkpoint), "--width", "64", "--height", "48"];
  return cogvideox([
    "generate",
    prompt,
    ...model,
    "--steps",
    "2",
    "--seed",
    "1",
    "-o",
    output,
    "--json",
    ...args,
  ]);
}

describe("what does not fit is refused with what would", () => {
  test.each([
    ["i2v-learned", [], /text-to-video does not work .* 16 channels, works from an image \(--image\)/],
    ["control", ["--image", clip], /works from a control video \(--control\)/],
    ["t2v-rope", ["--image", clip], /works from a prompt alone, or from a video \(--video, --invert\)/],
    ["t2v-rope", ["--start-image", clip], /inpainting does not work/],
    ["t2v-rope", ["--image", "x.png", "--video", "x.mp4"], /--image and --video ask for different modes/],
    ["t2v-rope", ["--strength", "0.5"], /--strength needs --video/],
    ["t2v-rope", ["--fit", "pad"], /--fit needs --image or --video/],
    ["t2v-rope", ["--video", "nowhere.mp4"], /no file or folder "nowhere.mp4"/],
    ["t2v-rope", ["--stg", "1"], /STG leaves out blocks 0 to 2 .* got 11; .*--stg-layers/],
    ["t2v-rope", ["--stg", "1", "--stg-layers", "1", "--guidance", "1"], /STG comes on top of guidance/],
    ["t2v-rope", ["--stg-layers", "1"], /need --stg/],
    ["t2v-rope", ["--stg", "1", "--invert", clip], /inversion does not work together with spatio-temporal/],
    ["t2v-rope", ["--stg", "1", "--stg-layers", "1;2"], /whole numbers with commas between/],
  ])("%s %j", async (checkpoint, args, message) => {
    const { status, stderr } = await generate(checkpoint, args);
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
  });

  test("a size without positions is refused before the text is encoded", async () => {
    const image = join(temporaryFolder(), "image.png");
    await sharp({ create: { width: 9, height: 9, channels: 3, background: "red" } }).toFile(image);
    const ended = await generate("i2v-learned", ["--image", image, "--width", "80"]);
    expect(ended).toMatchObject({ status: 2 });
    expect(ended.stderr).toMatch(/learned positions for 64x48 pixels only, got 80x48/);
    expect(ended.stdout).not.toContain("encoded");
  });

  test("a video with too few frames is refused with their number", async () => {
    const video = await folderOfFrames(3);
    const asked = await generate("t2v-rope", ["--video", video, "--frames", "9"]);
    expect(asked.stderr).toMatch(/frames is 9, but the video has 3/);
    const patches = await generate("t2v-patch-t", ["--video", video]);
    expect(patches.stderr).toMatch(/the video has 3 frames, but this model needs at least 8/);
  });
});

test("sources and LoRAs that cannot be used leave an older clip as it was", async () => {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const half = readFileSync("test/fixtures/media/clips/deep.mkv").subarray(0, 300);
  for (const [name, content] of [
    ["clip.gif", "older"],
    ["nothing.mp4", ""],
    ["text.mp4", "no video"],
    ["half.mkv", half],
    ["nothing.png", ""],
    ["lora.safetensors", "no LoRA"],
  ] as const)
    writeFileSync(at(name), content);
  const zeros = (shape: readonly number[]) => ({ dtype: "F32" as const, shape, data: new Float32Array(256) });
  await writeSafetensors(at("wide.safetensors"), {
    "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight": zeros([4, 64]),
    "transformer.transformer_blocks.0.attn1.to_q.lora_B.weight": zeros([64, 4]),
  });
  const before = readdirSync(folder);
  for (const [checkpoint, args, says, code] of [
    ["t2v-rope", ["--video", at("nothing.mp4")], /cannot read ".*nothing\.mp4"/, 2],
    ["t2v-rope", ["--video", at("text.mp4")], /cannot read ".*text\.mp4"/, 2],
    ["t2v-rope", ["--video", at("half.mkv")], /cannot read ".*half\.mkv"/, 2],
    ["t2v-rope", ["--video", "test/fixtures/media/clips/sound.mp4"], /it holds no video stream/, 2],
    ["control", ["--control", at("text.mp4")], /cannot read ".*text\.mp4"/, 2],
    ["i2v-learned", ["--image", at("nothing.png")], /cannot read ".*nothing\.png": it is damaged/, 2],
    ["i2v-learned", ["--image", at("text.mp4")], /give a PNG, JPEG, WebP, AVIF, GIF or TIFF/, 2],
    ["t2v-rope", ["--lora", at("lora.safetensors")], /lora\.safetensors/, 1],
    [
      "t2v-rope",
      ["--lora", at("wide.safetensors")],
      /has weights \[48,48\] here, .*\[4,64\] and \[64,4\]/,
      1,
    ],
  ] as const) {
    const { status, stderr } = await generate(checkpoint, [...args, "-o", at("clip.gif")]);
    expect(stderr).toMatch(says);
    expect(stderr).not.toMatch(/\n {4}at /);
    expect(status).toBe(code);
    expect(readdirSync(folder)).toEqual(before);
    expect(readFileSync(at("clip.gif"), "utf8")).toBe("older");
  }
});

test.each([
  ["jpeg", 7, 5],
  ["webp", 300, 40],
  ["avif", 33, 80],
])("a %s of %ix%i becomes a clip", async (format, width, height) => {
  const image = join(temporaryFolder(), "picture.png"); // the extension lies
  const canvas = sharp({
    create: { width, height, channels: 4, background: { r: 1, g: 2, b: 3, alpha: 0.5 } },
  });
  writeFileSync(image, await canvas.toFormat(format as "jpeg").toBuffer());
  const ended = await generate("i2v-learned", ["--image", image]);
  expect(ended).toMatchObject({ status: 0 });
  expect(jsonLines(ended)[1]).toEqual({
    event: "source",
    what: "image",
    width,
    height,
    frames: 1,
    fit: "crop",
  });
});

describe("video to video", () => {
  test.each([
    ["t2v-rope", 12, 9],
    ["t2v-rope", 1, 1],
    ["t2v-patch-t", 9, 8],
  ])("%s takes of %i frames those that need no padding: %i", async (checkpoint, available, used) => {
    const ended = await generate(checkpoint, [
      "--video",
      await folderOfFrames(available),
      "--strength",
      "0.5",
    ]);
    expect(ended).toMatchObject({ status: 0 });
    const events = jsonLines(ended);
    expect(events[1]).toMatchObject({ event: "source", frames: used, fit: "crop" });
    expect(events.filter(({ event }) => event === "step")).toHaveLength(1);
    expect(events.findLast(({ event }) => event === "frames")).toMatchObject({ total: used });
  });
});

test("inversion writes the noise it found and makes a clip in both directions", async () => {
  const noise = join(temporaryFolder(), "noise.safetensors");
  const ended = await generate("t2v-rope", ["--invert", await folderOfFrames(9), "--save-inverted", noise]);
  expect(ended).toMatchObject({ status: 0 });
  const steps = jsonLines(ended).filter(({ event }) => event === "step");
  expect(steps.map(({ step, steps, timestep }) => [step, steps, timestep])).toEqual([
    [1, 4, 499],
    [2, 4, 999],
    [3, 4, 999],
    [4, 4, 499],
  ]);
  expect((await readHeader(noise)).tensors.get("latents")?.shape).toEqual([1, 3, 8, 6, 8]);
});

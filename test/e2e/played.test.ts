/** @file Clips made from a clip, which a browser plays to the end. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, type TestContext, test } from "vitest";
import { cogvideox, runProcess } from "../helpers/command-line.ts";
import { hasFfprobe, probe } from "../helpers/ffprobe.ts";
import { chromiumPath, hasPlayer, openPlayer, type Player } from "../helpers/player.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-played-"));
/** A clip of the shapes data set: 64 x 64, 17 frames at 8 a second. */
const source = join(folder, "shapes/videos/000000.mp4");
let player: Player | undefined;

beforeAll(async () => {
  const made = await cogvideox(["data", "make-shapes", "--clips", "1", "-o", join(folder, "shapes")]);
  expect(made.status).toBe(0);
  if (hasPlayer()) player = await openPlayer();
});
afterAll(async () => {
  await player?.close();
  rmSync(folder, { recursive: true });
});

describe("video to video", () => {
  const model = ["--model", recorded("t2v-rope"), "--width", "64", "--height", "48", "--frames", "17"];
  const args = [
    "generate",
    "A red circle.",
    ...model,
    "--video",
    source,
    "--strength",
    "0.5",
    "--steps",
    "2",
    "--seed",
    "1",
  ];

  test.for<[string, string[], string]>([
    ["clip.mp4", [], "h264"],
    ["clip.webm", [], "vp9"],
    ["growing.mp4", ["--fragmented"], "h264"],
  ])("writes %s %j in %s, which plays", async ([name, more, codec], context) => {
    const clip = join(folder, name);
    expect(await cogvideox([...args, ...more, "-o", clip])).toMatchObject({ status: 0 });
    await expectPlays(clip, { codec, width: 64, height: 48, frames: 17 }, context);
  });
});

test("the VAE of nano gives a clip back that plays and is close to it", async (context) => {
  const clip = join(folder, "back.mp4");
  const sides = ["--width", "64", "--height", "64"];
  const ended = await runProcess(["--import", "tsx", "scripts/round-trip.ts", source, clip, ...sides]);
  expect(ended).toMatchObject({ status: 0, stderr: "" });
  const { psnr, frames } = JSON.parse(ended.stdout);
  expect(frames).toBe(17);
  expect(psnr).toBeGreaterThan(28);
  await expectPlays(clip, { codec: "h264", width: 64, height: 64, frames: 17 }, context);
}, 120_000);

type Expected = {
  readonly codec: string;
  readonly width: number;
  readonly height: number;
  readonly frames: number;
};

/** Asks ffprobe and the browser; what is not installed is a reason to call the test skipped. */
async function expectPlays(
  file: string,
  { codec, width, height, frames }: Expected,
  { skip }: TestContext,
): Promise<void> {
  if (!hasFfprobe()) skip("ffprobe is not installed");
  expect(probe(file)).toMatchObject([{ codec_name: codec, width, height, nb_read_frames: `${frames}` }]);
  if (player === undefined) return skip(`${chromiumPath} is absent`);
  const { duration, ...played } = await player.play(file);
  expect(played).toMatchObject({ width, height, frames });
  expect(duration).toBeCloseTo(frames / 8, 2);
}

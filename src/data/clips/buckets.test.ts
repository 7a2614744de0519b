/** @file Tests of the size that a video is cut to. */
import { expect, test } from "vitest";
import { bucketFor } from "./buckets.ts";

const wide = { frames: 49, height: 480, width: 720 };
const tall = { frames: 49, height: 720, width: 480 };
const large = { frames: 49, height: 960, width: 1440 };
const short = { frames: 17, height: 480, width: 720 };
const shortTall = { frames: 17, height: 720, width: 480 };

test.each([
  ["has the most frames that the video has, then its aspect ratio", [60, 1080, 1920], tall],
  ["has no more frames than the video", [48, 1920, 1080], short],
  ["is the larger picture where proportions are the same", [49, 1920, 1080], large],
  ["is the shortest of its proportions for a video that is shorter than all", [14, 1080, 1920], shortTall],
] as const)("%s", (_, [frames, width, height], expected) => {
  for (const sizes of [
    [short, wide, tall, large, shortTall],
    [shortTall, large, tall, wide, short],
  ])
    expect(bucketFor({ frames, width, height }, sizes)).toEqual(expected);
});

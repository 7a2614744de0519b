/** @file Long clips from tiny checkpoints: windows that cover everything change nothing, and frames are all there. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { recorded } from "../../../test/helpers/tiny-checkpoint.ts";
import { createRng, drawNormals } from "../../diffusion/noise.ts";
import { ConfigError } from "../../errors.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import type { PipelineEvent } from "../events.ts";
import type { GenerateOptions } from "../generate-options.ts";
import { loadPipeline, type Pipeline } from "../pipeline.ts";
import { textToVideo } from "../text-to-video.ts";
import { videoToVideo } from "../video-to-video.ts";
import { chainVideo } from "./chain-video.ts";

let text: Pipeline;
let patches: Pipeline;
let sines: Pipeline;
let image: Pipeline;
beforeAll(async () => {
  text = await loadPipeline(recorded("t2v-rope"));
  patches = await loadPipeline(recorded("t2v-patch-t"));
  sines = await loadPipeline(recorded("t2v-sincos"));
  image = await loadPipeline(recorded("i2v-learned"));
});
afterAll(() => Promise.all([text, patches, sines, image].map((pipeline) => pipeline.close())));

const base = { prompt: "A red circle moves left.", width: 64, height: 48, steps: 2, seed: 1 };

async function gather(events: AsyncIterable<PipelineEvent>): Promise<PipelineEvent[]> {
  const all: PipelineEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

function latentsOf(events: readonly PipelineEvent[]): HostTensor {
  const found = events.find((event) => event.kind === "latents");
  return (found as Extract<PipelineEvent, { kind: "latents" }>).latents;
}

async function latents(pipeline: Pipeline, options: Partial<GenerateOptions>): Promise<HostTensor> {
  return latentsOf(await gather(textToVideo(pipeline, { ...base, ...options, latentsOnly: true })));
}

const floats = ({ data }: HostTensor) => data as Float32Array;

/** Frames in order, having checked that each follows the one before. */
function framesOf(events: readonly PipelineEvent[]): { readonly count: number; readonly total: number } {
  let count = 0;
  let last = 0;
  for (const event of events) {
    if (event.kind !== "frames") continue;
    expect(event.start).toBe(count);
    count += event.frames.shape[0];
    last = event.total;
  }
  return { count, total: last };
}

describe("windows", () => {
  test.each(["pyramid", "linear"] as const)("that cover the clip change nothing (%s)", async (blend) => {
    const plain = await latents(text, { frames: 17 });
    for (const frames of [17, 49]) {
      const windowed = await latents(text, {
        frames: 17,
        longVideo: { window: { frames, blend }, freeNoise: true },
      });
      expect(windowed.shape).toEqual(plain.shape);
      expect(windowed.data).toBeCloseToArray(floats(plain), { atol: 1e-6 });
    }
  });

  test("that cover the clip change nothing where patches reach over two frames", async () => {
    const plain = await latents(patches, { frames: 17 });
    const windowed = await latents(patches, { frames: 17, longVideo: { window: { frames: 17 } } });
    expect(windowed.data).toBeCloseToArray(floats(plain), { atol: 1e-6 });
  });

  test("make of frames that lie in one alone what they would make without the others", async () => {
    const longVideo = { window: { frames: 9, overlap: 0 } };
    const long = await latents(text, { frames: 25, longVideo });
    const size = long.data.length / 7;
    const noise = drawNormals(createRng(base.seed), 7 * size).slice(0, 3 * size);
    const given: HostTensor = { dtype: "f32", shape: [1, 3, ...long.shape.slice(2)], data: noise };
    const alone = await latents(text, { frames: 9, latents: given });
    expect(floats(long).slice(0, 3 * size)).toBeCloseToArray(floats(alone), { atol: 1e-6 });
  });

  test.each([
    ["t2v-rope", 33, { frames: 9, overlap: 4 }],
    ["t2v-patch-t", 33, { frames: 17, overlap: 8 }],
  ] as const)("make clips of any length: %s, %d frames", async (name, frames, window) => {
    const pipeline = name === "t2v-rope" ? text : patches;
    const longVideo = { window, freeNoise: true, riflex: "auto" } as const;
    const events = await gather(textToVideo(pipeline, { ...base, frames, longVideo }));
    expect(framesOf(events)).toEqual({ count: frames, total: frames });
    expect(events[0]).toMatchObject({ recipe: { frames, longVideo } });
    expect((latentsOf(events).data as Float32Array).every(Number.isFinite)).toBe(true);
  });

  test("say how far they are as one evaluation of the model", async () => {
    const seen: string[] = [];
    const onSegment: GenerateOptions["onSegment"] = ({ stage, done, total }) => {
      if (stage === "denoise") seen.push(`${done}/${total}`);
    };
    const longVideo = { window: { frames: 9, overlap: 0 } };
    await latents(text, { frames: 17, steps: 1, longVideo, onSegment });
    expect(seen).toEqual(Array.from({ length: 10 }, (_, i) => `${i + 1}/10`)); // two windows of five segments
  });
});

describe("RIFLEx", () => {
  test("changes clips that outlast the period, and no others", async () => {
    const riflex = { riflex: "auto" } as const;
    const [short, shortWith] = [
      await latents(text, { frames: 9 }),
      await latents(text, { frames: 9, longVideo: riflex }),
    ];
    expect(shortWith.data).toEqual(short.data);
    const [long, longWith] = [
      await latents(text, { frames: 33 }),
      await latents(text, { frames: 33, longVideo: riflex }),
    ];
    expect(longWith.data).not.toBeCloseToArray(floats(long), { atol: 1e-4 });
  });
});

describe("what does not go together is refused before any work:", () => {
  test.each<[string, () => AsyncIterable<PipelineEvent>, RegExp]>([
    [
      "RIFLEx without rotation",
      () => textToVideo(sines, { ...base, longVideo: { riflex: "auto" } }),
      /adds sines/,
    ],
    [
      "a frequency that is none",
      () => textToVideo(text, { ...base, longVideo: { riflex: 3 } }),
      /frequency 1 to 2/,
    ],
    [
      "noise without windows",
      () => textToVideo(text, { ...base, longVideo: { freeNoise: true } }),
      /needs --window/,
    ],
    [
      "noise with a video",
      () =>
        videoToVideo(text, {
          ...base,
          video: Array(9).fill({ rgb: new Uint8Array(64 * 48 * 3), width: 64, height: 48 }),
          longVideo: { freeNoise: true, window: { frames: 9 } },
        }),
      /where the clip starts from a video/,
    ],
    [
      "a chain of none",
      () => chainVideo(image, { ...base, image: "x.png", clips: 0 }),
      /1 to 1000 clips, got 0/,
    ],
  ])("%s", async (_, events, says) => {
    const done = gather(events());
    await expect(done).rejects.toThrow(ConfigError);
    await expect(done).rejects.toThrow(says);
  });
});

describe("a chain", () => {
  const picture = {
    rgb: Uint8Array.from({ length: 64 * 48 * 3 }, (_, i) => (i * 7) % 256),
    width: 64,
    height: 48,
  };

  test("of one clip is image to video, frame by frame", async () => {
    const chain = await gather(chainVideo(image, { ...base, frames: 9, image: picture, clips: 1 }));
    expect(framesOf(chain)).toEqual({ count: 9, total: 9 });
    expect(chain.filter(({ kind }) => kind === "source" || kind === "encoded")).toHaveLength(2);
  });

  test("shows where clips meet once, and goes on from there in its colours", async () => {
    const events = await gather(chainVideo(image, { ...base, frames: 9, image: picture, clips: 3 }));
    expect(framesOf(events)).toEqual({ count: 25, total: 25 });
    expect(events[0]).toMatchObject({
      kind: "started",
      recipe: { frames: 25, chain: 3, matchColours: true },
    });
    const sources = events.filter((event) => event.kind === "source").map(({ what }) => what);
    expect(sources).toEqual(["image", "last frame of clip 1", "last frame of clip 2"]);
    expect(events.filter(({ kind }) => kind === "step")).toHaveLength(6);
    expect(events.filter(({ kind }) => kind === "done" || kind === "started")).toHaveLength(2);
    const means = meansOfFrames(events);
    const without = meansOfFrames(
      await gather(chainVideo(image, { ...base, frames: 9, image: picture, clips: 3, matchColours: false })),
    );
    expect(means.slice(0, 9)).toEqual(without.slice(0, 9));
    expect(means.slice(9)).not.toEqual(without.slice(9));
  });
});

function meansOfFrames(events: readonly PipelineEvent[]): number[] {
  return events.flatMap((event) => {
    if (event.kind !== "frames") return [];
    const [count] = event.frames.shape;
    const size = event.frames.data.length / count;
    return Array.from({ length: count }, (_, i) => {
      const frame = (event.frames.data as Float32Array).subarray(i * size, (i + 1) * size);
      return frame.reduce((sum, x) => sum + x, 0) / size;
    });
  });
}

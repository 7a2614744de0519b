/** @file Tests of the mask that inpainting shows the model, and of clips whose latents fill temporal patches. */
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { copyCheckpoint, editJson, editTensors } from "../../test/helpers/tiny-checkpoint.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { PipelineEvent } from "./events.ts";
import { inpaintVideo, maskOfLatents } from "./inpaint-video.ts";
import { loadPipeline, type Pipeline } from "./pipeline.ts";
import { textToVideo } from "./text-to-video.ts";

const config = { temporalRatio: 4 };
const known = (frames: number, ...places: number[]) =>
  Array.from({ length: frames }, (_, i) => (places.includes(i) ? 1 : 0));

test("the first latent is the first frame", () => {
  expect(maskOfLatents(known(9, 0), config)).toEqual([1, 0, 0]);
  expect(maskOfLatents(known(1, 0), config)).toEqual([1]);
});

test("the others look at the two middle ones of their four frames, so a last frame leaves no trace", () => {
  expect(maskOfLatents(known(9, 8), config)).toEqual([0, 0, 0]);
  expect(maskOfLatents(known(9, 2), config)).toEqual([0, 0.5, 0]);
  expect(maskOfLatents(known(9, 6, 7), config)).toEqual([0, 0, 1]);
});

describe("with temporal patches", () => {
  /** A text-to-video model that also takes a mask and masked latents, to which its weights are zero. */
  async function opened(): Promise<Pipeline> {
    const folder = copyCheckpoint("t2v-patch-t");
    const transformer = join(folder, "transformer");
    editJson(join(transformer, "config.json"), { in_channels: 17 });
    await editTensors(join(transformer, "diffusion_pytorch_model.safetensors"), (tensors) => {
      const { dtype, data } = tensors["patch_embed.proj.weight"];
      const wide = new Uint8Array(48 * 17 * 8 * 2);
      for (let row = 0; row < 48; row++)
        wide.set((data as Uint8Array).subarray(row * 128, (row + 1) * 128), row * 272);
      tensors["patch_embed.proj.weight"] = { dtype, shape: [48, 136], data: wide };
    });
    const pipeline = await loadPipeline(folder);
    onTestFinished(() => pipeline.close());
    return pipeline;
  }

  const base = { prompt: "A red circle.", width: 64, height: 48, steps: 1, seed: 1 };
  const picture = { rgb: new Uint8Array(64 * 48 * 3).fill(200), width: 64, height: 48 };

  async function made(events: AsyncIterable<PipelineEvent>) {
    const parts: Float32Array[] = [];
    let latents: HostTensor | null = null;
    let [frames, total] = [0, 0];
    for await (const event of events) {
      if (event.kind === "latents") ({ latents } = event);
      if (event.kind !== "frames") continue;
      expect(event.start).toBe(frames);
      frames += event.frames.shape[0];
      ({ total } = event);
      parts.push(event.frames.data as Float32Array);
    }
    expect(frames).toBe(total);
    return { latents: latents!, total, pixels: Float32Array.from(parts.flatMap((part) => [...part])) };
  }

  test.each([
    [9, 4],
    [13, 4],
    [17, 6],
  ])("a clip of %d frames has %d latents and as many frames as it should", async (frames, numLatents) => {
    const pipeline = await opened();
    const request = { ...base, frames, startImage: picture, endImage: picture };
    const clip = await made(inpaintVideo(pipeline, request));
    expect(clip.latents.shape[1]).toBe(numLatents);
    expect(clip.total).toBe(frames);
    const { latents } = clip;
    const again = await made(textToVideo(pipeline, { ...base, steps: 0, latents, frames }));
    expect(again.pixels).toEqual(clip.pixels);
  });

  test("a clip without padding has what an even number of latents decodes to, but for repeats of its first frame", async () => {
    const pipeline = await opened();
    const { latents, pixels } = await made(inpaintVideo(pipeline, { ...base, frames: 13 }));
    const whole = await made(textToVideo(pipeline, { ...base, steps: 0, latents, frames: 16 }));
    expect(whole.total).toBe(16);
    expect(pixels).toEqual(whole.pixels.slice(-pixels.length));
    const wrong = made(textToVideo(pipeline, { ...base, steps: 0, latents, frames: 14 }));
    await expect(wrong).rejects.toThrow("frames is 14, but the latents have 4 frames");
  });
});

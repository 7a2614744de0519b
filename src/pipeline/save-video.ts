/** @file Writes the frames of a run to a video file. */
import { interleavedToRgb } from "../media/frames.ts";
import { createVideoWriter, type VideoWriter, type VideoWriterOptions } from "../media/write.ts";
import type { PipelineEvent } from "./events.ts";

/** Frame rate, quality, recipe and metadata of the file; the size follows from the frames. */
export type SaveOptions = Omit<VideoWriterOptions, "width" | "height">;

type Frames = Extract<PipelineEvent, { kind: "frames" }>["frames"];

/**
 * Consumes the events of a run and writes its frames to `file` (.mp4, .webm, .gif, .webp, or a folder ending in -png)
 * as they are decoded. Nothing appears under the name before all of it is written, and nothing is left on failure.
 * @throws whatever the run throws; ConfigError for an unknown extension
 */
export async function saveVideo(
  events: AsyncIterable<PipelineEvent>,
  file: string,
  options: SaveOptions,
): Promise<void> {
  const writer = new FrameWriter(file, options);
  try {
    for await (const event of events) if (event.kind === "frames") await writer.write(event.frames);
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** A video file that opens with its first frames unless it was opened before. */
export class FrameWriter {
  private readonly file: string;
  private readonly options: SaveOptions;
  private video: VideoWriter | null = null;

  constructor(file: string, options: SaveOptions) {
    this.file = file;
    this.options = options;
  }

  /** Opens the file now, so that a name that cannot be written is found before the work and not after it. */
  async open(width: number, height: number): Promise<VideoWriter> {
    this.video ??= await createVideoWriter(this.file, { ...this.options, width, height });
    return this.video;
  }

  /** Appends frames `[T, H, W, 3]` in [0, 1]. */
  async write({ shape, data }: Frames): Promise<void> {
    const [frames, height, width] = shape;
    const video = await this.open(width, height);
    const rgb = interleavedToRgb(data as Float32Array, { frames, height, width });
    const stride = height * width * 3;
    for (let i = 0; i < frames; i++) await video.write(rgb.subarray(i * stride, (i + 1) * stride));
  }

  async finish(): Promise<void> {
    await this.video?.finish();
  }

  async abort(): Promise<void> {
    await this.video?.abort();
  }
}

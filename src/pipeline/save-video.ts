/** @file Writes the frames of a run to a video file. */
import { ConfigError } from "../errors.ts";
import { interleavedToRgb } from "../media/frames.ts";
import { AI_GENERATED } from "../media/provenance.ts";
import { createVideoWriter, type VideoWriter, type VideoWriterOptions } from "../media/write.ts";
import type { PipelineEvent } from "./events.ts";

/** Quality and metadata of the file, and whatever should differ from what the run says: its frame rate, its recipe. */
export type SaveOptions = Partial<Omit<VideoWriterOptions, "width" | "height">>;

type Frames = Extract<PipelineEvent, { kind: "frames" }>["frames"];

/**
 * Consumes the events of a run and writes its frames to `file` (.mp4, .webm, .gif, .webp, or a folder ending in -png)
 * as they are decoded, with the recipe inside. Nothing appears under the name before all of it is written, and nothing is
 * left on failure. With `fragmented`, an .mp4 appears with its first frames instead and can be watched as it grows; the
 * name "-" is standard output.
 * @throws whatever the run throws; ConfigError for an unknown extension
 */
export async function saveVideo(
  events: AsyncIterable<PipelineEvent>,
  file: string,
  options: SaveOptions = {},
): Promise<void> {
  const writer = new FrameWriter(file, options);
  try {
    for await (const event of events) {
      if (event.kind === "started") await writer.open(event);
      if (event.kind === "frames") await writer.write(event.frames);
    }
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

type Started = Extract<PipelineEvent, { kind: "started" }>;

/** A video file that opens when a run starts and takes its frames. */
export class FrameWriter {
  private readonly file: string;
  private readonly options: SaveOptions;
  private video: VideoWriter | null = null;

  constructor(file: string, options: SaveOptions) {
    this.file = file;
    this.options = options;
  }

  /** Opens the file, so that a name that cannot be written is found before the work and not after it. */
  async open({ width, height, fps, recipe }: Started): Promise<void> {
    const given = Object.fromEntries(Object.entries(this.options).filter(([, value]) => value !== undefined));
    const played = this.options.fps === undefined ? recipe : { ...recipe, fps: this.options.fps };
    const made = { fps, recipe: played, digitalSourceType: AI_GENERATED };
    this.video = await createVideoWriter(this.file, { ...made, ...given, width, height });
  }

  /** Appends frames `[T, H, W, 3]` in [0, 1]. */
  async write({ shape, data }: Frames): Promise<void> {
    if (this.video === null) throw new ConfigError("frames came before the run said that it started");
    const [frames, height, width] = shape;
    const rgb = interleavedToRgb(data as Float32Array, { frames, height, width });
    const stride = height * width * 3;
    for (let i = 0; i < frames; i++) await this.video.write(rgb.subarray(i * stride, (i + 1) * stride));
    await this.video.show();
  }

  async finish(): Promise<void> {
    await this.video?.finish();
  }

  async abort(): Promise<void> {
    await this.video?.abort();
  }
}

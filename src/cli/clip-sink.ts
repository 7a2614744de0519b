/** @file Where a clip goes on the command line: the video, and what else is asked for. */
import { extname, resolve, sep } from "node:path";
import { STDOUT } from "../media/fragments.ts";
import type { PipelineEvent } from "../pipeline/events.ts";
import { FrameWriter } from "../pipeline/save-video.ts";
import { removeDeadDrafts } from "./dead-drafts.ts";
import type { GenerateValues } from "./generate-table.ts";
import { FramesFile, requireWritable, writeLatents } from "./tensor-files.ts";

/** Which of the clips of a job, from 0. */
export type ClipPlace = { readonly clip: number; readonly clips: number; readonly seed: number };

/** The name of a clip's own file where a job makes several: `clip.mp4` becomes `clip-1.mp4`, `clip-01.mp4` among ten. */
export function numbered(file: string, { clip, clips }: Omit<ClipPlace, "seed">): string {
  if (clips === 1) return file;
  const number = String(clip + 1).padStart(String(clips).length, "0");
  const end = /(-png|\.png-dir|[/\\]+)$/i.exec(file)?.[0] ?? extname(file);
  const stem = file.slice(0, file.length - end.length);
  return `${stem}-${number}${end}`;
}

/** The video that a clip is written to; `STDOUT` where that is standard output. */
export function outputOf({ output }: GenerateValues, place: ClipPlace): string {
  if (output === STDOUT) return STDOUT;
  const name = numbered(output ?? `video-${place.seed}.mp4`, place);
  // A separator at the end says that it is a folder of frames, and `resolve` drops it.
  return /[/\\]$/.test(name) ? `${resolve(name)}${sep}` : resolve(name);
}

/** Where decoded frames go: the video file and, if asked for, a file of floats. Nothing is left behind by `abort`. */
export class ClipSink {
  readonly output: string;
  private readonly video: FrameWriter;
  private readonly files: { readonly [K in "frames" | "latents" | "inverted"]: string | undefined };
  private floats: FramesFile | null = null;

  constructor(values: GenerateValues, place: ClipPlace) {
    this.output = outputOf(values, place);
    this.video = new FrameWriter(this.output, { fps: values.fps, fragmented: values.fragmented });
    const own = (file: string | undefined) => (file === undefined ? undefined : numbered(file, place));
    this.files = {
      frames: own(values["save-frames"]),
      latents: own(values["save-latents"]),
      inverted: own(values["save-inverted"]),
    };
  }

  /** Takes what there is to keep of an event. */
  async take(event: PipelineEvent): Promise<void> {
    if (event.kind === "started") await this.open(event);
    if (event.kind === "frames") await this.write(event);
    if (event.kind !== "latents" && event.kind !== "inverted") return;
    const file = this.files[event.kind];
    if (file !== undefined) await writeLatents(file, event.latents);
  }

  async finish(): Promise<void> {
    await this.floats?.close();
    await this.video.finish();
  }

  async abort(): Promise<void> {
    await this.floats?.abort();
    await this.video.abort();
  }

  /** Everything that will be written is opened or tried now; hours of work should not end at a folder's permissions. */
  private async open(started: Extract<PipelineEvent, { kind: "started" }>): Promise<void> {
    for (const file of Object.values(this.files)) if (file !== undefined) await requireWritable(file);
    if (this.output !== STDOUT) await removeDeadDrafts(this.output);
    await this.video.open(started);
  }

  private async write({ frames, total }: Extract<PipelineEvent, { kind: "frames" }>): Promise<void> {
    await this.video.write(frames);
    if (this.files.frames === undefined) return;
    this.floats ??= await FramesFile.create(this.files.frames, [total, ...frames.shape.slice(1)]);
    await this.floats.append(frames.data as Float32Array);
  }
}

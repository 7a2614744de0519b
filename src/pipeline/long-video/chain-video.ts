/** @file A chain of clips: each begins with the last frame of the one before, in its colours. */
import { ConfigError } from "../../errors.ts";
import { sizeOf } from "../../graph/shape.ts";
import { interleavedToRgb } from "../../media/frames.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { readPrompts } from "../batch.ts";
import { type ClipSize, clipSize } from "../clip-size.ts";
import { type SourceClip, sourceImage } from "../clip-source.ts";
import type { PipelineEvent } from "../events.ts";
import { generate } from "../generate.ts";
import { defaults, type PromptStates } from "../generate-options.ts";
import { type ImageToVideoOptions, imageMode } from "../image-to-video.ts";
import { requireKind } from "../mode.ts";
import type { Pipeline } from "../pipeline.ts";
import { startOf } from "../recipe.ts";
import { type ColourMatch, matchColours, withColours } from "./colour-match.ts";

/** A picture, and how many clips are to go on from it, one from the other. The prompt may be empty. */
export type ChainVideoOptions = Omit<ImageToVideoOptions, "latents" | "latentsOnly" | "resume"> & {
  /** At least 1; the video has `clips * (frames - 1) + 1` frames. */
  readonly clips: number;
  /** Brings the colours of each clip to where the last one ended; on unless given. */
  readonly matchColours?: boolean;
};

const NAME = "image-to-video chain";

/**
 * Makes a video of several clips in a row. The first begins with the image; each of the others with the last frame so
 * far, which is not shown twice, and has a seed of its own, counting up from the first. Frames leave as they are decoded,
 * all clips in one sequence, and at any time there is one clip in memory. Events as `imageToVideo`, "started" and "done"
 * once, with a "source" for every clip.
 * @throws ConfigError for impossible options, an unreadable image or a checkpoint of another mode; CancelledError
 *   after `signal`, WeightsError, SessionError
 */
export async function* chainVideo(
  pipeline: Pipeline,
  { clips, matchColours: matching = true, ...options }: ChainVideoOptions,
): AsyncGenerator<PipelineEvent> {
  const started = performance.now();
  const { checkpoint } = pipeline;
  requireKind(checkpoint, NAME, "image");
  requireChain(clips, options);
  const size = clipSize(checkpoint.transformer.config, options);
  let image = await sourceImage("image", options.image, size, options.fit);
  const joint = new JointFrames(clips * (size.frames - 1) + 1, matching);
  const { recipe } = imageMode(pipeline, options, size, image);
  const chain = { ...recipe, chain: clips, matchColours: matching };
  yield startOf(checkpoint, options, { name: NAME, size: { ...size, frames: joint.total }, recipe: chain });
  const promptStates = options.promptStates ?? (await statesOf(pipeline, options));
  for (let clip = 0; clip < clips; clip++) {
    const seed = BigInt(options.seed ?? defaults.seed) + BigInt(clip);
    const request = { ...options, seed, promptStates };
    for await (const event of generate(pipeline, request, imageMode(pipeline, request, size, image))) {
      if (event.kind === "frames") yield* joint.take(event);
      else if (event.kind !== "started" && event.kind !== "done") yield event;
    }
    joint.endClip();
    if (clip < clips - 1) image = await goingOn(joint.last, size, clip + 1);
  }
  yield { kind: "done", seconds: (performance.now() - started) / 1000 };
}

function requireChain(clips: number, options: object): void {
  if (!Number.isInteger(clips) || clips < 1 || clips > 1000)
    throw new ConfigError(`a chain must have 1 to 1000 clips, got ${clips}`);
  for (const name of ["latents", "latentsOnly", "resume"])
    if (name in options && (options as Record<string, unknown>)[name])
      throw new ConfigError(`a chain of clips does not work with ${name}; leave it out`);
}

/** Hidden states of the prompt, which all clips share. */
async function statesOf(
  pipeline: Pipeline,
  options: Omit<ChainVideoOptions, "clips">,
): Promise<PromptStates | undefined> {
  return (await readPrompts(pipeline, [options, options]))?.(options);
}

/** The picture that the next clip begins with. */
function goingOn(frame: Float32Array, size: ClipSize, clip: number): Promise<SourceClip> {
  const rgb = interleavedToRgb(frame, { ...size, frames: 1 });
  return sourceImage(`last frame of clip ${clip}`, { rgb, width: size.width, height: size.height }, size);
}

type FramesEvent = Extract<PipelineEvent, { kind: "frames" }>;

/** Frames of clips that follow each other, as those of one video. */
class JointFrames {
  readonly total: number;
  /** The last frame so far, `[H, W, 3]`. */
  last: Float32Array = new Float32Array(0);
  private readonly matching: boolean;
  private start = 0;
  private match: ColourMatch | null = null;
  private beginsClip = true;

  constructor(total: number, matching: boolean) {
    this.total = total;
    this.matching = matching;
  }

  /** The next frames of a clip. Its first one is the last of the clip before: colours are compared by it, and it is dropped. */
  *take({ frames }: FramesEvent): Generator<FramesEvent> {
    const [count, ...rest] = frames.shape;
    const size = sizeOf(rest);
    let data = frames.data as Float32Array;
    const repeats = this.beginsClip && this.start > 0;
    if (repeats && this.matching) this.match = matchColours(data.subarray(0, size), this.last);
    if (this.match !== null) data = withColours(data, this.match);
    this.beginsClip = false;
    this.last = data.slice((count - 1) * size);
    const kept: HostTensor = repeats
      ? { ...frames, shape: [count - 1, ...rest], data: data.subarray(size) }
      : { ...frames, data };
    if (kept.shape[0] === 0) return;
    yield { kind: "frames", start: this.start, total: this.total, frames: kept };
    this.start += kept.shape[0];
  }

  endClip(): void {
    this.beginsClip = true;
    this.match = null;
  }
}

/** @file `cogvideox data`: makes the shapes data set, reads what clips show, and draws their edges. */
import { edgesOf } from "../../data/clips/edges.ts";
import { type ShapesSettings, writeShapes } from "../../data/shapes/dataset.ts";
import { type Reading, readClip } from "../../data/shapes/reader/read.ts";
import type { Split } from "../../data/shapes/scene.ts";
import { ConfigError } from "../../errors.ts";
import type { RgbImage } from "../../media/frames.ts";
import { probeVideo, readVideo } from "../../media/read.ts";
import { createVideoWriter, type VideoWriter } from "../../media/write.ts";
import { namesExactFrames, readRoundedFrames } from "../../pipeline/exact-frames.ts";
import type { Command, Context } from "../command.ts";
import { duration } from "../numbers.ts";
import { type OptionTable, type OptionValues, parseOptions } from "../options.ts";
import type { Terminal } from "../terminal.ts";

const options = {
  output: {
    kind: "text",
    short: "o",
    value: "PATH",
    about: "make-shapes: the folder, new or to be continued; edges: the video to write",
  },
  clips: { kind: "integer", about: "make-shapes: how many clips" },
  seed: { kind: "integer", about: "make-shapes: other clips for every seed (0)" },
  size: { kind: "integer", value: "PIXELS", about: "make-shapes: width and height (64)" },
  frames: { kind: "integer", about: "make-shapes: frames of a clip (17)" },
  fps: {
    kind: "number",
    about: "make-shapes: frames per second (8); edges: of the video (its own)",
  },
  split: {
    kind: "text",
    choices: ["train", "held-out", "all"],
    about: "make-shapes: compositions for training (default), those kept from it, or all",
  },
  captions: { kind: "text", choices: ["short", "long", "both"], about: "make-shapes: which captions (both)" },
} as const satisfies OptionTable;

export const data: Command = {
  name: "data",
  about:
    "Make captioned clips of shapes (make-shapes), say what they show (read), draw edges for --control (edges)",
  positionals: ["make-shapes|read|edges", "[FILE...]"],
  options,
  run: async (args, context) => {
    // As many files as there are arguments at most.
    const names = ["make-shapes|read|edges", ...args.map(() => "[FILE]")];
    const { values, positionals } = parseOptions(args, options, names);
    const [action, ...files] = positionals;
    if (action === "make-shapes") await makeShapes(values, files, context);
    else if (action === "read") await readFiles(values, files, context);
    else if (action === "edges") await drawEdges(values, files, context);
    else throw new ConfigError(`data can make-shapes, read and edges, not ${JSON.stringify(action)}`);
  },
};

type Values = OptionValues<typeof options>;

async function makeShapes(values: Values, files: readonly string[], context: Context): Promise<void> {
  const { output, clips } = values;
  if (files.length > 0)
    throw new ConfigError(`make-shapes takes no FILE, got ${files[0]}; the folder is --output`);
  if (output === undefined) throw new ConfigError("--output is missing: the folder for the clips");
  if (clips === undefined) throw new ConfigError("--clips is missing: how many clips to make");
  const settings: ShapesSettings = {
    seed: values.seed ?? 0,
    size: values.size ?? 64,
    frames: values.frames ?? 17,
    fps: values.fps ?? 8,
    // The table allows nothing else.
    split: (values.split ?? "train") as Split,
    captions: (values.captions ?? "both") as ShapesSettings["captions"],
  };
  const { terminal, signal } = context;
  const onClip = clipProgress(clips, terminal);
  const { written, kept } = await writeShapes(output, { ...settings, clips, onClip, signal });
  terminal.say(`${written} clips written${kept > 0 ? `, ${kept} were there` : ""}`);
  terminal.print(output);
  terminal.emit({ event: "done", folder: output, written, kept });
}

const SAY_EVERY_SECONDS = 10;

/** Keeps a line of progress, and says one now and then for those who read it in a file. */
function clipProgress(clips: number, terminal: Terminal): (done: number, kept: boolean) => void {
  const start = performance.now();
  let said = 0;
  let written = 0;
  return (done, kept) => {
    if (kept) return;
    written++;
    const seconds = (performance.now() - start) / 1000;
    const line = `clip ${done}/${clips}  ${duration((seconds / written) * (clips - done))} left`;
    terminal.progress(line);
    if (seconds - said < SAY_EVERY_SECONDS) return;
    said = seconds;
    terminal.say(line);
    terminal.emit({ event: "progress", done, clips });
  };
}

/** White edges on black, frame by frame; sizes and rate are the video's own, eight a second for frames alone. */
async function drawEdges(
  { output, fps, ...others }: Values,
  files: readonly string[],
  { terminal, signal }: Context,
): Promise<void> {
  const given = Object.entries(others).find(([, value]) => value !== undefined);
  if (given !== undefined)
    throw new ConfigError(`--${given[0]} belongs to make-shapes; edges takes --output, --fps`);
  if (files.length !== 1) throw new ConfigError(`edges takes one FILE, got ${files.length}`);
  if (output === undefined) throw new ConfigError("--output is missing: the video of edges");
  const [file] = files;
  const rate = fps ?? (await ownRate(file));
  let writer: VideoWriter | null = null;
  let frames = 0;
  try {
    for await (const { rgb, width, height } of framesOf(file)) {
      signal.throwIfAborted();
      writer ??= await createVideoWriter(output, { width, height, fps: rate });
      await writer.write(edgesOf(rgb, { width, height }));
      terminal.progress(`frame ${++frames}`);
    }
    await writer?.finish();
  } finally {
    await writer?.abort();
  }
  terminal.print(output);
  terminal.emit({ event: "done", file: output, frames });
}

/** The rate of frames that do not say how fast they play. */
const FRAMES_ALONE_FPS = 8;

async function ownRate(file: string): Promise<number> {
  return namesExactFrames(file) ? FRAMES_ALONE_FPS : (await probeVideo(file)).fps;
}

/** The frames of a video, of a folder of pictures, or of a safetensors file. */
function framesOf(file: string): AsyncIterable<RgbImage> {
  return namesExactFrames(file) ? readRoundedFrames(file) : readVideo(file);
}

async function readFiles(values: Values, files: readonly string[], context: Context): Promise<void> {
  const given = Object.entries(values).find(([, value]) => value !== undefined);
  if (given !== undefined)
    throw new ConfigError(`--${given[0]} belongs to make-shapes; read takes only files`);
  if (files.length === 0)
    throw new ConfigError(
      "FILE is missing: a video, an animation, a folder of frames, or frames in .safetensors",
    );
  for (const file of files) {
    context.signal.throwIfAborted();
    const reading = await readFile(file);
    context.terminal.print(`${files.length > 1 ? `${file}: ` : ""}${describe(reading)}`);
    context.terminal.emit({ event: "reading", file, ...reading });
  }
}

async function readFile(file: string): Promise<Reading> {
  const frames: Uint8Array[] = [];
  let size = { width: 0, height: 0 };
  for await (const { rgb, width, height } of framesOf(file)) {
    frames.push(rgb);
    size = { width, height };
  }
  return readClip(Buffer.concat(frames), { ...size, frames: frames.length });
}

function describe({ objects, background, camera }: Reading): string {
  const each = objects.map(({ colour, shape, size, motion }) =>
    shape === null ? `something ${colour}` : `${size} ${colour} ${shape}, ${motion}`,
  );
  const behind =
    background === null ? "no known background" : `${background.tone} ${background.pattern} background`;
  return [each.join("; ") || "no object", behind, `camera: ${camera}`].join(" | ");
}

/** @file Reads videos through FFmpeg's demuxer and decoder as upright RGB frames. */
import path from "node:path";
import type {
  CodecContext,
  FilterContext,
  FilterGraph,
  FormatContext,
  Frame,
  Packet,
  Stream,
} from "node-av/lib";
import { ConfigError } from "../errors.ts";
import { type Ffmpeg, loadFfmpeg } from "./ffmpeg.ts";
import type { RgbImage } from "./frames.ts";

/** One decoded frame, and when it is shown. */
export interface VideoFrame extends RgbImage {
  /** Seconds since the start of the video. */
  readonly timestampSeconds: number;
}

/** What is known of a video without decoding it. */
export interface VideoInfo {
  /** Pixels, after the rotation a camera may have noted in the file. */
  readonly width: number;
  readonly height: number;
  /** Average frames per second. */
  readonly fps: number;
  /** Number of frames the file says it has, or else of packets; an edit list may show fewer. */
  readonly frames: number;
  readonly durationSeconds: number;
  /** FFmpeg's name of the codec: h264, vp9, gif, png, ... */
  readonly codec: string;
  /** The container's tags with lower-case names. */
  readonly tags: Readonly<Record<string, string>>;
}

/** Decodes the first video stream of `file`. Throws ConfigError for a file that is no video, damaged or cut short. */
export async function* decodeFrames(file: string): AsyncGenerator<VideoFrame> {
  const ffmpeg = await loadFfmpeg();
  const input = await openInput(ffmpeg, file);
  const codec = new ffmpeg.lib.CodecContext();
  const converter = new Converter(ffmpeg, rotationOf(ffmpeg, input.stream), file);
  let numFrames = 0;
  try {
    await openDecoder(ffmpeg, codec, input.stream, file);
    const toSeconds = clock(ffmpeg, input);
    for await (const frame of decodedFrames(ffmpeg, input, codec, file)) {
      const timestampSeconds = toSeconds(frame); // first: the conversion takes the frame's contents away
      yield { ...(await converter.toRgb(frame)), timestampSeconds };
      numFrames++;
    }
    if (numFrames === 0) throw unreadable(file, "it holds no picture that can be decoded");
  } finally {
    converter.free();
    codec.freeContext();
    await input.container.closeInput();
  }
}

/** Size, rate, length and tags of the video in `file`; errors as `decodeFrames`. */
export async function inspectVideo(file: string): Promise<VideoInfo> {
  const ffmpeg = await loadFfmpeg();
  const { container, stream } = await openInput(ffmpeg, file);
  try {
    const { codecpar, avgFrameRate } = stream;
    const isTurned = rotationOf(ffmpeg, stream) % 180 !== 0;
    const fps = avgFrameRate.den > 0 ? avgFrameRate.num / avgFrameRate.den : 0;
    const frames = Number(stream.nbFrames) || (await countPackets(ffmpeg, container, stream.index));
    const microseconds = Number(container.duration);
    return {
      width: isTurned ? codecpar.height : codecpar.width,
      height: isTurned ? codecpar.width : codecpar.height,
      fps,
      frames,
      durationSeconds: microseconds > 0 ? microseconds / 1e6 : fps > 0 ? frames / fps : 0,
      codec: ffmpeg.lib.avGetCodecName(codecpar.codecId) ?? "unknown",
      tags: lowerCaseTags(container),
    };
  } finally {
    await container.closeInput();
  }
}

/**
 * When each frame of the first video stream is shown, in seconds since the first, in the order of showing; read from
 * the packets without decoding. Null where a packet does not say. Errors as `inspectVideo`. Damaged streams may show
 * other frames than their packets promise.
 */
export async function packetTimestamps(file: string): Promise<Float64Array | null> {
  const { lib, constants } = await loadFfmpeg();
  const { container, stream } = await openInput({ lib, constants }, file);
  const packet = new lib.Packet();
  packet.alloc();
  const found: bigint[] = [];
  try {
    for (; (await container.readFrame(packet)) >= 0; packet.unref()) {
      // Packets that an edit list cuts away are decoded for the sake of others, not shown.
      const isShown = (packet.flags & constants.AV_PKT_FLAG_DISCARD) === 0;
      if (packet.streamIndex !== stream.index || !isShown) continue;
      if (packet.pts === constants.AV_NOPTS_VALUE) return null;
      found.push(packet.pts);
    }
  } finally {
    packet.free();
    await container.closeInput();
  }
  const { num, den } = stream.timeBase;
  const first = found.reduce((least, pts) => (pts < least ? pts : least), found[0] ?? 0n);
  return Float64Array.from(found, (pts) => (Number(pts - first) * num) / den).sort();
}

interface Input {
  readonly container: FormatContext;
  readonly stream: Stream;
}

async function openInput({ lib, constants }: Ffmpeg, file: string): Promise<Input> {
  const container = new lib.FormatContext();
  // Only local files: a playlist must not make the reader fetch addresses.
  const options = lib.Dictionary.fromObject({ protocol_whitelist: "file" });
  const opened = await container.openInput(path.resolve(file), null, options);
  if (opened < 0) throw unreadable(file, "it is not a video, or its header is damaged", opened, lib);
  try {
    // Any text passes for art in letters, of which frames would be drawn.
    if (container.iformat?.name === "tty") throw unreadable(file, "it holds text");
    const found = await container.findStreamInfo();
    const index = found < 0 ? -1 : container.findBestStream(constants.AVMEDIA_TYPE_VIDEO);
    if (index < 0) throw unreadable(file, "it holds no video stream");
    const stream = container.streams[index];
    if (stream.codecpar.width < 1) throw unreadable(file, "its video stream is damaged");
    return { container, stream };
  } catch (error) {
    await container.closeInput();
    throw error;
  }
}

async function openDecoder(
  { lib }: Ffmpeg,
  codec: CodecContext,
  stream: Stream,
  file: string,
): Promise<void> {
  const { codecId } = stream.codecpar;
  const decoder = lib.Codec.findDecoder(codecId);
  if (!decoder) throw unreadable(file, `there is no decoder for its codec ${lib.avGetCodecName(codecId)}`);
  codec.allocContext3(decoder);
  codec.parametersToContext(stream.codecpar);
  codec.pktTimebase = stream.timeBase;
  codec.threadCount = 0; // as many as there are cores
  const opened = await codec.open2(decoder);
  if (opened < 0) throw unreadable(file, "its decoder could not be started", opened, lib);
}

async function* decodedFrames(
  ffmpeg: Ffmpeg,
  { container, stream }: Input,
  codec: CodecContext,
  file: string,
): AsyncGenerator<Frame> {
  const { lib, constants } = ffmpeg;
  const packet = new lib.Packet();
  const frame = new lib.Frame();
  packet.alloc();
  frame.alloc();
  try {
    let numPackets = 0;
    for (let ended = false; !ended; ) {
      const code = await container.readFrame(packet);
      ended = code === constants.AVERROR_EOF;
      if (code < 0 && !ended) throw unreadable(file, `it is damaged after frame ${numPackets}`, code, lib);
      if (!ended && packet.streamIndex !== stream.index) {
        packet.unref();
        continue;
      }
      if (!ended) numPackets++;
      else if (numPackets < stream.nbFrames)
        throw unreadable(file, `it is cut short: ${numPackets} of ${stream.nbFrames} frames are there`);
      const sent = await codec.sendPacket(ended ? null : packet);
      packet.unref();
      if (sent < 0) throw unreadable(file, `frame ${numPackets - 1} is damaged`, sent, lib);
      yield* received(ffmpeg, codec, frame, file);
    }
  } finally {
    packet.free();
    frame.free();
  }
}

async function* received(
  { lib, constants }: Ffmpeg,
  codec: CodecContext,
  frame: Frame,
  file: string,
): AsyncGenerator<Frame> {
  for (;;) {
    const code = await codec.receiveFrame(frame);
    if (code === constants.AVERROR_EAGAIN || code === constants.AVERROR_EOF) return;
    if (code < 0) throw unreadable(file, "a frame is damaged", code, lib);
    yield frame;
    frame.unref();
  }
}

/** Converts decoded frames to upright RGB, with the matrix and range each frame declares. */
class Converter {
  private readonly ffmpeg: Ffmpeg;
  private readonly rotation: number;
  private readonly file: string;
  private graph: FilterGraph | undefined;
  private source: FilterContext | undefined;
  private sink: FilterContext | undefined;
  private sourceArgs = "";

  constructor(ffmpeg: Ffmpeg, rotation: number, file: string) {
    this.ffmpeg = ffmpeg;
    this.rotation = rotation;
    this.file = file;
  }

  async toRgb(frame: Frame): Promise<{ rgb: Uint8Array; width: number; height: number }> {
    const { lib } = this.ffmpeg;
    this.connect(frame);
    const output = new lib.Frame();
    output.alloc();
    try {
      const sent = await this.source!.buffersrcAddFrame(frame);
      const code = sent < 0 ? sent : await this.sink!.buffersinkGetFrame(output);
      if (code < 0) throw unreadable(this.file, "a frame could not be converted to RGB", code, lib);
      return { rgb: packRows(output), width: output.width, height: output.height };
    } finally {
      output.free();
    }
  }

  free(): void {
    this.graph?.free();
    this.graph = undefined;
  }

  /** (Re)builds the filter chain when the size, pixel format or colours of the frames change, as they may midway. */
  private connect(frame: Frame): void {
    const args =
      `width=${frame.width}:height=${frame.height}:pix_fmt=${frame.format}:time_base=1/1000` +
      `:pixel_aspect=1/1:colorspace=${frame.colorSpace}:range=${frame.colorRange}`;
    if (args === this.sourceArgs) return;
    this.free();
    this.sourceArgs = args;
    this.graph = new this.ffmpeg.lib.FilterGraph();
    this.graph.alloc();
    const turn = turns[this.rotation] ?? "";
    // Plain bicubic is what the ffmpeg command does, and so what Python loaders give the reference: the bytes agree.
    const chain = `buffer@in=${args},${turn}scale=flags=bicubic,format=rgb24,buffersink@out`;
    const parsed = this.graph.parsePtr(chain);
    const code = parsed < 0 ? parsed : this.graph.configSync();
    if (code < 0) throw unreadable(this.file, "its pixels cannot be converted to RGB", code, this.ffmpeg.lib);
    const filters = this.graph.filters ?? [];
    this.source = filters.find((each) => each.filter?.name === "buffer");
    this.sink = filters.find((each) => each.filter?.name === "buffersink");
  }
}

/** Filters that undo a clockwise rotation, by degrees. */
const turns: Record<number, string> = {
  90: "transpose=clock,",
  180: "hflip,vflip,",
  270: "transpose=cclock,",
};

/** The rows of an rgb24 frame without the padding FFmpeg keeps behind each. */
function packRows(frame: Frame): Uint8Array {
  const rowBytes = frame.width * 3;
  const stride = frame.linesize[0];
  const pixels = frame.data![0];
  const rgb = new Uint8Array(rowBytes * frame.height);
  for (let y = 0; y < frame.height; y++)
    rgb.set(pixels.subarray(y * stride, y * stride + rowBytes), y * rowBytes);
  return rgb;
}

/** Degrees clockwise (0, 90, 180, 270) that the picture must be turned, from the display matrix of the stream. */
function rotationOf({ constants }: Ffmpeg, stream: Stream): number {
  const matrix = stream.codecpar.getCodedSideData(constants.AV_PKT_DATA_DISPLAYMATRIX);
  if (!matrix || matrix.length < 36) return 0;
  const degrees = (Math.atan2(matrix.readInt32LE(4), matrix.readInt32LE(0)) * 180) / Math.PI;
  return (Math.round(degrees / 90) * 90 + 360) % 360;
}

/**
 * Seconds since the first frame. A frame without a timestamp, as the last ones of an MPEG stream are, follows the one
 * before at its pace.
 */
function clock({ constants }: Ffmpeg, { stream }: Input): (frame: Frame) => number {
  const { num, den } = stream.timeBase;
  const { num: frames, den: seconds } = stream.avgFrameRate;
  let step = frames > 0 ? BigInt(Math.round((den * seconds) / (num * frames))) : 1n;
  let first: bigint | undefined;
  let last: bigint | undefined;
  return ({ bestEffortTimestamp: stamp }) => {
    const isKnown = stamp !== constants.AV_NOPTS_VALUE;
    const at = isKnown ? stamp : last === undefined ? 0n : last + step;
    if (isKnown && last !== undefined) step = stamp - last;
    first ??= at;
    last = at;
    return (Number(at - first) * num) / den;
  };
}

async function countPackets({ lib }: Ffmpeg, container: FormatContext, index: number): Promise<number> {
  const packet: Packet = new lib.Packet();
  packet.alloc();
  let count = 0;
  while ((await container.readFrame(packet)) >= 0) {
    if (packet.streamIndex === index) count++;
    packet.unref();
  }
  packet.free();
  return count;
}

function lowerCaseTags(container: FormatContext): Record<string, string> {
  const tags = container.metadata?.getAll() ?? {};
  return Object.fromEntries(Object.entries(tags).map(([name, value]) => [name.toLowerCase(), value]));
}

function unreadable(file: string, why: string, code?: number, lib?: Ffmpeg["lib"]): ConfigError {
  const cause = code !== undefined && lib ? new lib.FFmpegError(code) : undefined;
  return new ConfigError(`cannot read "${file}": ${why}; give a playable video file`, { cause });
}

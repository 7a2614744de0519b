/** @file Feeds RGB frames through an FFmpeg filter graph and encoder into a container, one frame at a time. */
import type {
  CodecContext,
  FilterContext,
  FilterGraph,
  FormatContext,
  Frame,
  IOContext,
  Packet,
} from "node-av/lib";
import { check, type Ffmpeg, loadFfmpeg } from "./ffmpeg.ts";
import type { Fraction } from "./frame-rate.ts";
import type { PixelSize } from "./frames.ts";

/** How one file format is made: which filter, encoder and container, with which options. */
export interface Recording {
  readonly container: string;
  readonly codec: string;
  /** FFmpeg filter chain from rgb24 frames to what the encoder takes. */
  readonly filter: string;
  /** The codec halves the chroma planes and cannot crop: odd sizes are padded by repeating the last column and row. */
  readonly evenSize: boolean;
  /** How the encoder tags its colours: BT.709 in video range, or nothing because they are RGB. */
  readonly colours: "bt709" | "rgb";
  readonly codecOptions: Record<string, string>;
  readonly containerOptions: Record<string, string>;
}

/** What an encoder needs to know about the video. */
export interface EncoderOptions {
  readonly width: number;
  readonly height: number;
  readonly fps: Fraction;
  /** What error messages call the file, when it is written under a temporary name. */
  readonly name?: string;
  /** Container metadata tags, by FFmpeg's names (comment, title, artist, ...). */
  readonly tags: Record<string, string>;
  /** Bytes to put between the header of the file and its pictures. */
  readonly behindHeader?: Uint8Array;
}

/** A file being encoded. Calls must not overlap; after an error only `close` may follow. */
export interface FrameEncoder {
  /** One frame, `height * width * 3` bytes, rows top-down, R G B. */
  write(rgb: Uint8Array): Promise<void>;
  /** Of a recording in fragments, ends one and hands it to the system. */
  endFragment(): Promise<void>;
  /** Flushes the encoder and writes the trailer; the file is complete on return of `close`. */
  flush(): Promise<void>;
  /** Closes the file and frees native memory; harmless to repeat. */
  close(): Promise<void>;
}

/** Takes frames to a result that stands under a temporary name until it is published. */
export interface VideoSink extends Omit<FrameEncoder, "endFragment"> {
  /** Lets others see what has been written so far; absent where there is nothing to see before the end. */
  show?(): Promise<void>;
  /** Moves the closed result to its own name. */
  publish(): Promise<void>;
  /** Removes the closed result. */
  discard(): Promise<void>;
}

/** Opens `file` for writing and writes its header. Throws an Error with a remedy when the file cannot be written. */
export async function openEncoder(
  file: string,
  recording: Recording,
  options: EncoderOptions,
): Promise<FrameEncoder> {
  const even = (length: number) => (recording.evenSize ? length + (length % 2) : length);
  const coded = { ...options, width: even(options.width), height: even(options.height) };
  const ffmpeg = await loadFfmpeg();
  const parts = allocate(ffmpeg);
  const name = options.name ?? file;
  try {
    connectFilter(ffmpeg, parts, recording, coded, name);
    allocateContainer(ffmpeg, parts, recording, file, name);
    await openCodec(ffmpeg, parts, recording, coded, name);
    await openContainer(ffmpeg, parts, recording, file, coded);
  } catch (error) {
    await release(parts);
    throw error;
  }
  return frameEncoder(ffmpeg, parts, options, coded, name);
}

interface Parts {
  readonly graph: FilterGraph;
  readonly codec: CodecContext;
  readonly container: FormatContext;
  readonly output: IOContext;
  readonly filtered: Frame;
  readonly packet: Packet;
  source?: FilterContext;
  sink?: FilterContext;
  opened: boolean;
  closed: boolean;
}

function allocate({ lib }: Ffmpeg): Parts {
  const parts: Parts = {
    graph: new lib.FilterGraph(),
    codec: new lib.CodecContext(),
    container: new lib.FormatContext(),
    output: new lib.IOContext(),
    filtered: new lib.Frame(),
    packet: new lib.Packet(),
    opened: false,
    closed: false,
  };
  parts.graph.alloc();
  parts.filtered.alloc();
  parts.packet.alloc();
  return parts;
}

function connectFilter(
  ffmpeg: Ffmpeg,
  parts: Parts,
  { filter }: Recording,
  { width, height, fps }: EncoderOptions,
  name: string,
): void {
  const { num, den } = fps;
  const source =
    `buffer@in=width=${width}:height=${height}:pix_fmt=rgb24:time_base=${den}/${num}` +
    `:frame_rate=${num}/${den}:pixel_aspect=1/1:colorspace=gbr:range=pc`;
  const chain = `${source},${filter},buffersink@out`;
  check(ffmpeg, parts.graph.parsePtr(chain), "set up the conversion for", name);
  check(ffmpeg, parts.graph.configSync(), "set up the conversion for", name);
  const filters = parts.graph.filters ?? [];
  parts.source = filters.find((each) => each.filter?.name === "buffer");
  parts.sink = filters.find((each) => each.filter?.name === "buffersink");
  if (!parts.source || !parts.sink) throw new Error(`the conversion for "${name}" has no input or output`);
}

function allocateContainer(
  ffmpeg: Ffmpeg,
  { container }: Parts,
  recording: Recording,
  file: string,
  name: string,
): void {
  check(ffmpeg, container.allocOutputContext2(null, recording.container, file), "create", name);
}

async function openCodec(
  ffmpeg: Ffmpeg,
  { codec, container, sink }: Parts,
  recording: Recording,
  { fps }: EncoderOptions,
  name: string,
): Promise<void> {
  const { lib, constants } = ffmpeg;
  const found = lib.Codec.findEncoderByName(
    recording.codec as Parameters<typeof lib.Codec.findEncoderByName>[0],
  );
  if (!found)
    throw new Error(
      `the installed node-av has no "${recording.codec}" encoder, needed for "${name}"; install node-av@6.1.1`,
    );
  codec.allocContext3(found);
  codec.width = sink!.buffersinkGetWidth();
  codec.height = sink!.buffersinkGetHeight();
  // A filter chain that ends in video frames has a pixel format here, never a sample format.
  codec.pixelFormat = sink!.buffersinkGetFormat() as typeof codec.pixelFormat;
  codec.timeBase = sink!.buffersinkGetTimeBase();
  codec.framerate = new lib.Rational(fps.num, fps.den);
  codec.threadCount = 0; // as many as there are cores; the default is one
  codec.bitRate = 0n; // otherwise libvpx takes FFmpeg's default bit rate as an upper bound beside crf
  if (recording.colours === "bt709") {
    codec.colorSpace = constants.AVCOL_SPC_BT709;
    codec.colorPrimaries = constants.AVCOL_PRI_BT709;
    codec.colorTrc = constants.AVCOL_TRC_BT709;
    codec.colorRange = constants.AVCOL_RANGE_MPEG;
  }
  if (container.oformat?.hasFlags(constants.AVFMT_GLOBALHEADER))
    codec.setFlags(constants.AV_CODEC_FLAG_GLOBAL_HEADER);
  const options = lib.Dictionary.fromObject(recording.codecOptions);
  check(ffmpeg, await codec.open2(found, options), "start the encoder for", name);
}

async function openContainer(
  ffmpeg: Ffmpeg,
  parts: Parts,
  recording: Recording,
  file: string,
  { tags, fps, behindHeader, name = file }: EncoderOptions,
): Promise<void> {
  const { lib } = ffmpeg;
  const { codec, container } = parts;
  const stream = container.newStream();
  check(ffmpeg, stream.codecpar.fromContext(codec), "create", name);
  stream.timeBase = new lib.Rational(fps.den, fps.num);
  stream.avgFrameRate = codec.framerate;
  container.metadata = lib.Dictionary.fromObject(tags);
  check(ffmpeg, await parts.output.open2(file, ffmpeg.constants.AVIO_FLAG_WRITE), "create", name);
  parts.opened = true;
  container.pb = parts.output;
  const options = lib.Dictionary.fromObject(recording.containerOptions);
  check(ffmpeg, await container.writeHeader(options), "write", name);
  if (behindHeader !== undefined) await parts.output.write(Buffer.from(behindHeader));
}

function frameEncoder(
  ffmpeg: Ffmpeg,
  parts: Parts,
  size: EncoderOptions,
  coded: EncoderOptions,
  name: string,
): FrameEncoder {
  const { lib, constants } = ffmpeg;
  let index = 0n;
  return {
    async write(rgb) {
      const frame = lib.Frame.fromVideoBuffer(repeatEdge(rgb, size, coded), {
        width: coded.width,
        height: coded.height,
        format: constants.AV_PIX_FMT_RGB24,
        timeBase: { num: coded.fps.den, den: coded.fps.num },
        pts: index++,
      });
      frame.colorSpace = constants.AVCOL_SPC_RGB;
      frame.colorRange = constants.AVCOL_RANGE_JPEG;
      try {
        check(ffmpeg, await parts.source!.buffersrcAddFrame(frame), "convert a frame for", name);
      } finally {
        frame.free();
      }
      await drainFilter(ffmpeg, parts, name);
    },
    async endFragment() {
      check(ffmpeg, await parts.container.writeFrame(null), "write", name);
      await parts.output.flush();
    },
    async flush() {
      check(ffmpeg, await parts.source!.buffersrcAddFrame(null), "convert a frame for", name);
      await drainFilter(ffmpeg, parts, name);
      check(ffmpeg, await parts.codec.sendFrame(null), "encode", name);
      await drainCodec(ffmpeg, parts, name);
      check(ffmpeg, await parts.container.writeTrailer(), "write", name);
    },
    close: () => release(parts),
  };
}

/** `rgb` of `from` pixels grown to `to` pixels by repeating its last column and row; the same bytes when sizes agree. */
function repeatEdge(rgb: Uint8Array, from: PixelSize, to: PixelSize): Buffer {
  const source = Buffer.from(rgb.buffer, rgb.byteOffset, rgb.byteLength);
  if (from.width === to.width && from.height === to.height) return source;
  const grown = Buffer.alloc(to.width * to.height * 3);
  for (let y = 0; y < to.height; y++) {
    const row = Math.min(y, from.height - 1) * from.width * 3;
    const at = y * to.width * 3;
    source.copy(grown, at, row, row + from.width * 3);
    for (let x = from.width; x < to.width; x++)
      source.copy(grown, at + x * 3, row + (from.width - 1) * 3, row + from.width * 3);
  }
  return grown;
}

async function drainFilter(ffmpeg: Ffmpeg, parts: Parts, name: string): Promise<void> {
  const { sink, filtered, codec } = parts;
  for (;;) {
    const code = await sink!.buffersinkGetFrame(filtered);
    if (isDrained(ffmpeg, code)) return;
    check(ffmpeg, code, "convert a frame for", name);
    filtered.pictType = ffmpeg.constants.AV_PICTURE_TYPE_NONE;
    filtered.duration = 1n;
    const sent = await codec.sendFrame(filtered);
    filtered.unref();
    check(ffmpeg, sent, "encode", name);
    await drainCodec(ffmpeg, parts, name);
  }
}

async function drainCodec(ffmpeg: Ffmpeg, { codec, container, packet }: Parts, name: string): Promise<void> {
  const stream = container.streams[0];
  for (;;) {
    const code = await codec.receivePacket(packet);
    if (isDrained(ffmpeg, code)) return;
    check(ffmpeg, code, "encode", name);
    packet.streamIndex = 0;
    if (packet.duration === 0n) packet.duration = 1n; // else the last frame of the file lasts no time
    packet.rescaleTs(codec.timeBase, stream.timeBase);
    const written = await container.interleavedWriteFrame(packet);
    packet.unref();
    check(ffmpeg, written, "write", name);
  }
}

function isDrained({ constants }: Ffmpeg, code: number): boolean {
  return code === constants.AVERROR_EAGAIN || code === constants.AVERROR_EOF;
}

async function release(parts: Parts): Promise<void> {
  if (parts.closed) return;
  parts.closed = true;
  parts.container.pb = null; // otherwise it is closed twice
  if (parts.opened) await parts.output.closep();
  parts.graph.free();
  parts.codec.freeContext();
  parts.container.freeContext();
  parts.filtered.free();
  parts.packet.free();
}

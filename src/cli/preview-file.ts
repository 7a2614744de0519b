/** @file The file that shows a clip while it forms: replaced as a whole after every step. */
import { interleavedToRgb } from "../media/frames.ts";
import { AI_GENERATED } from "../media/provenance.ts";
import { createVideoWriter } from "../media/write.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import { type Look, lookThrough } from "../pipeline/preview.ts";
import { previewMap } from "../pipeline/preview-fit.ts";
import { tinyLook } from "../pipeline/tiny-preview.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { type ClipPlace, numbered } from "./clip-sink.ts";
import type { Context } from "./command.ts";
import type { GenerateValues } from "./generate-table.ts";

/** Pixels across one latent where latents are shown through a linear map. */
const LATENT = 4;

/** Where previews of a clip go, and how it is looked at; null where none were asked for. */
export async function previewOf(
  pipeline: Pipeline,
  { preview, "preview-decoder": decoder }: GenerateValues,
  place: ClipPlace,
  { terminal, signal }: Pick<Context, "terminal" | "signal">,
): Promise<{ readonly file: PreviewFile; readonly look: Look } | null> {
  if (preview === undefined) return null;
  const name = numbered(preview, place);
  if (decoder !== undefined)
    return { file: new PreviewFile(name, 1), look: await tinyLook(pipeline, decoder) };
  const map = await previewMap(pipeline, { signal });
  terminal.say(`previews explain ${(100 * map.r2).toFixed(0)} % of the colours`);
  return { file: new PreviewFile(name, LATENT), look: lookThrough(map) };
}

/** A video that is written anew for every look at a run. */
class PreviewFile {
  readonly file: string;
  private readonly enlarged: number;
  private fps = 2;

  /** @param enlarged pixels across one place of the frames that are shown, of which there are as many times fewer than in the clip */
  constructor(file: string, enlarged: number) {
    this.file = file;
    this.enlarged = enlarged;
  }

  /** @param fps of the clip */
  begin(fps: number): void {
    this.fps = fps / this.enlarged;
  }

  /** Writes frames `[F, h, w, 3]` in [0, 1]. */
  async show({ shape: [frames, height, width], data }: HostTensor): Promise<void> {
    const { enlarged, fps } = this;
    const size = { width: width * enlarged, height: height * enlarged };
    const writer = await createVideoWriter(this.file, { ...size, fps, digitalSourceType: AI_GENERATED });
    const rgb = interleavedToRgb(data as Float32Array, { frames, height, width });
    const frame = 3 * height * width;
    try {
      for (let start = 0; start < rgb.length; start += frame)
        await writer.write(enlargedFrame(rgb.subarray(start, start + frame), width, enlarged));
      await writer.finish();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }
}

/** A frame `[h, w, 3]` with a square of `times` by `times` pixels for each of its own. */
function enlargedFrame(rgb: Uint8Array, width: number, times: number): Uint8Array {
  const line = 3 * width * times;
  return new Uint8Array(rgb.length * times ** 2).map((_, i) => {
    const [row, column] = [Math.floor(i / line / times), Math.floor((i % line) / (3 * times))];
    return rgb[3 * (row * width + column) + (i % 3)];
  });
}

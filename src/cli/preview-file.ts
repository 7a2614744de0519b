/** @file The file that shows a clip while it forms: replaced as a whole after every step. */
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
export class PreviewFile {
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
  async show({ shape: [frames, h, w], data }: HostTensor): Promise<void> {
    const { enlarged } = this;
    const [width, height] = [w * enlarged, h * enlarged];
    const writer = await createVideoWriter(this.file, {
      width,
      height,
      fps: this.fps,
      digitalSourceType: AI_GENERATED,
    });
    try {
      for (let t = 0; t < frames; t++) {
        const rgb = new Uint8Array(width * height * 3);
        for (let i = 0; i < rgb.length; i++) {
          const [y, x, c] = [Math.floor(i / (3 * width)), Math.floor(i / 3) % width, i % 3];
          const place = (t * h + Math.floor(y / enlarged)) * w + Math.floor(x / enlarged);
          rgb[i] = Math.round(255 * (data as Float32Array)[3 * place + c]);
        }
        await writer.write(rgb);
      }
      await writer.finish();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }
}

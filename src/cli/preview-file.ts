/** @file The file that shows a clip while it forms: replaced as a whole after every step. */
import { AI_GENERATED } from "../media/provenance.ts";
import { createVideoWriter } from "../media/write.ts";
import type { HostTensor } from "../runtime/protocol.ts";

/** Pixels of a preview across one latent. */
const ENLARGED = 4;

/** A small video that is written anew for every look at a run. */
export class PreviewFile {
  readonly file: string;
  private fps = 2;

  constructor(file: string) {
    this.file = file;
  }

  /** @param fps of the clip; a preview has a fourth of its frames */
  begin(fps: number): void {
    this.fps = fps / 4;
  }

  /** Writes frames `[F, h, w, 3]` in [0, 1], every place four pixels wide. */
  async show({ shape: [frames, h, w], data }: HostTensor): Promise<void> {
    const [width, height] = [w * ENLARGED, h * ENLARGED];
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
          const place = (t * h + Math.floor(y / ENLARGED)) * w + Math.floor(x / ENLARGED);
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

/** @file The mark that says where a picture or video comes from, in the vocabulary of the IPTC. */
import { open, readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { nothingAt } from "../errors.ts";
import { inspectVideo } from "./decode.ts";
import { xmpDigitalSourceType } from "./embed.ts";

/** Made by a model trained on sampled content (IPTC NewsCodes, digital source type). */
export const AI_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";

/** Name of the tag of Matroska and WebM files that holds the URI. */
export const SOURCE_TAG = "DIGITAL_SOURCE_TYPE";

/** Bytes at the end of a file in which the mark is looked for; it is written last. */
const TAIL = 1 << 16;

/**
 * The digital source type of a video, animation, PNG frame or folder of frames; null where the file says nothing.
 * Throws ConfigError for a file that is missing or cannot be read.
 */
export async function readDigitalSourceType(file: string): Promise<string | null> {
  const found = await stat(file).catch((cause) => {
    throw nothingAt(file, cause);
  });
  if (found.isDirectory()) {
    const frame = (await readdir(file)).filter((name) => /\.png$/i.test(name)).sort()[0];
    return frame === undefined ? null : readDigitalSourceType(path.join(file, frame));
  }
  const [head, tail] = await ends(file, found.size);
  const inXmp = xmpDigitalSourceType(tail) ?? xmpDigitalSourceType(head);
  if (inXmp !== null || !head.startsWith("\x1aE\xdf\xa3")) return inXmp;
  return (await inspectVideo(file)).tags[SOURCE_TAG.toLowerCase()] ?? null;
}

async function ends(file: string, size: number): Promise<[string, string]> {
  if (size <= 2 * TAIL) {
    const text = (await readFile(file)).toString("latin1");
    return [text, text];
  }
  const handle = await open(file);
  try {
    const at = async (position: number) =>
      (await handle.read(Buffer.alloc(TAIL), 0, TAIL, position)).buffer.toString("latin1");
    return [await at(0), await at(size - TAIL)];
  } finally {
    await handle.close();
  }
}

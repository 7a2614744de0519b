/** @file The precompiled character map of SentencePiece: a Darts double array and its replacement texts. */
import { WeightsError } from "../../../errors.ts";

/**
 * `units` is a double-array trie over UTF-8 bytes (darts-clone). Its values are offsets into `replacements`,
 * UTF-8 texts that each end in a zero byte.
 */
export type CharsMap = { units: Uint32Array; replacements: Uint8Array; source: string };

/**
 * Splits the blob `[trie size: u32 LE][trie][replacements]` (Normalizer::DecodePrecompiledCharsMap).
 * Gives null for an empty blob, which means that every character stays as it is.
 */
export function readCharsMap(blob: Uint8Array, source: string): CharsMap | null {
  if (blob.length === 0) return null;
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const trieSize = blob.length > 4 ? view.getUint32(0, true) : 0;
  if (trieSize === 0 || trieSize % 4 !== 0 || trieSize >= blob.length - 4)
    throw new WeightsError(
      `the precompiled_charsmap in ${source} is broken: ${blob.length} bytes with a trie of ${trieSize}`,
    );
  if (blob[blob.length - 1] !== 0)
    throw new WeightsError(`the precompiled_charsmap in ${source} is broken: its last text has no end`);
  const units = new Uint32Array(trieSize / 4);
  for (let i = 0; i < units.length; i++) units[i] = view.getUint32(4 + 4 * i, true);
  return { units, replacements: blob.subarray(4 + trieSize), source };
}

/**
 * Looks for the longest rule that `text` has at `start`. Gives its length in bytes, or 0, and pushes its
 * replacement, without the end mark, to `out`.
 */
export function replaceLongest(map: CharsMap, text: Uint8Array, start: number, out: number[]): number {
  const { units, replacements } = map;
  let longest = 0;
  let value = 0;
  let position = offsetOf(units[0]);
  for (let at = start; at < text.length; at++) {
    position = (position ^ text[at]) >>> 0;
    const unit = units[position]; // undefined outside of a damaged trie: `& 0x800000ff` makes it 0
    if (unit === undefined || (unit & 0x800000ff) !== text[at]) break;
    position = (position ^ offsetOf(unit)) >>> 0;
    if ((unit & 0x100) === 0) continue;
    longest = at + 1 - start;
    value = units[position] & 0x7fffffff;
  }
  if (longest > 0) pushReplacement(replacements, value, out, map.source);
  return longest;
}

function pushReplacement(replacements: Uint8Array, start: number, out: number[], source: string) {
  const { length } = replacements;
  if (start >= length)
    throw new WeightsError(
      `the precompiled_charsmap in ${source} is broken: a rule points to byte ${start} of ${length}`,
    );
  for (let at = start; replacements[at] !== 0; at++) out.push(replacements[at]);
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

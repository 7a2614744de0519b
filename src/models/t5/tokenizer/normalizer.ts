/** @file Rewrites text the way SentencePiece does before it cuts it into pieces (normalizer.cc). */
import { type CharsMap, readCharsMap, replaceLongest } from "./chars-map.ts";
import { longestKey, type PieceTrie } from "./piece-trie.ts";
import type { NormalizerSpec } from "./sentencepiece-model.ts";

/** UTF-8 in, UTF-8 out. */
export type Normalizer = (text: Uint8Array) => Uint8Array;

const SPACE = 0x20;
const ESCAPED_SPACE = [0xe2, 0x96, 0x81]; // U+2581
const REPLACEMENT = [0xef, 0xbf, 0xbd]; // U+FFFD

/** `userDefined` holds pieces that are kept as they are wherever they occur; null when there are none. */
export function createNormalizer(
  spec: NormalizerSpec,
  userDefined: PieceTrie | null,
  source: string,
): Normalizer {
  const map = readCharsMap(spec.charsMap, source);
  return (text) => normalize(text, spec, map, userDefined);
}

/** How many bytes the UTF-8 character with this first byte takes, 1 where none can start. */
export function charLength(firstByte: number): number {
  if (firstByte < 0xc0) return 1;
  if (firstByte < 0xe0) return 2;
  return firstByte < 0xf0 ? 3 : 4;
}

function normalize(
  text: Uint8Array,
  spec: NormalizerSpec,
  map: CharsMap | null,
  userDefined: PieceTrie | null,
): Uint8Array {
  const space = spec.escapeWhitespaces ? ESCAPED_SPACE : [SPACE];
  const out: number[] = [];
  const chunk: number[] = [];
  let afterSpace = spec.removeExtraWhitespaces;
  let atStart = true;
  for (let at = 0; at < text.length; ) {
    chunk.length = 0;
    at += takePrefix(text, at, map, userDefined, chunk);
    // Only rules that give exactly one space are dropped at the start; the dummy prefix comes after those.
    if (atStart && spec.removeExtraWhitespaces && chunk.length === 1 && chunk[0] === SPACE) continue;
    if (atStart && spec.addDummyPrefix) out.push(...space);
    atStart = false;
    afterSpace = appendChunk(out, chunk, afterSpace, space) && spec.removeExtraWhitespaces;
  }
  if (spec.removeExtraWhitespaces) trimEnd(out, space);
  return new Uint8Array(out);
}

/** Pushes what the text at `start` becomes to `out` and gives the number of bytes read (NormalizePrefix). */
function takePrefix(
  text: Uint8Array,
  start: number,
  map: CharsMap | null,
  userDefined: PieceTrie | null,
  out: number[],
): number {
  const kept = userDefined ? longestKey(userDefined, text, start) : 0;
  if (kept > 0) return pushBytes(text, start, kept, out);
  const replaced = map ? replaceLongest(map, text, start, out) : 0;
  if (replaced > 0) return replaced;
  const length = validCharLength(text, start);
  if (length > 0) return pushBytes(text, start, length, out);
  out.push(...REPLACEMENT);
  return 1;
}

function pushBytes(text: Uint8Array, start: number, length: number, out: number[]): number {
  for (let i = start; i < start + length; i++) out.push(text[i]);
  return length;
}

/** Bytes of the character at `start`; 0 for half a character, which a rule can leave behind. */
function validCharLength(text: Uint8Array, start: number): number {
  const length = charLength(text[start]);
  if (length === 1) return text[start] < 0x80 ? 1 : 0;
  for (let i = 1; i < length; i++) if ((text[start + i] & 0xc0) !== 0x80) return 0;
  return length;
}

/** Appends the chunk, without leading spaces after a space; gives whether the text now ends in a space. */
function appendChunk(out: number[], chunk: readonly number[], afterSpace: boolean, space: readonly number[]) {
  let first = 0;
  if (afterSpace) while (first < chunk.length && chunk[first] === SPACE) first++;
  if (first === chunk.length) return afterSpace;
  for (let i = first; i < chunk.length; i++) {
    if (chunk[i] === SPACE) out.push(...space);
    else out.push(chunk[i]);
  }
  return chunk[chunk.length - 1] === SPACE;
}

/** Drops spaces at the end, also U+2581 that stood in the text itself, as the original does. */
function trimEnd(out: number[], space: readonly number[]) {
  const endsInSpace = () => space.every((byte, i) => out[out.length - space.length + i] === byte);
  while (out.length >= space.length && endsInSpace()) out.length -= space.length;
}

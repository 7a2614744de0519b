/** @file A trie over UTF-8 bytes, kept in one hash table of (node, byte) edges. */
import { WeightsError } from "../../../errors.ts";

/** Node ids start at 0, the root; `step` gives -1 where no key goes on. */
export type PieceTrie = {
  /** The node after `byte`, or -1. */
  step(node: number, byte: number): number;
  /** The id of the key that ends at the node, or -1. */
  idAt(node: number): number;
};

const encoder = new TextEncoder();

/** Builds the trie for `keys`, texts with the ids to give for them; `source` names the file in errors. */
export function buildPieceTrie(
  keys: readonly (readonly [text: string, id: number])[],
  source: string,
): PieceTrie {
  const encoded = keys.map(([text]) => encoder.encode(text));
  const numNodes = encoded.reduce((sum, bytes) => sum + bytes.length, 1);
  // Edges are hashed as 31-bit integers: 23 bits of node, 8 of byte.
  if (numNodes >= 2 ** 23)
    throw new WeightsError(`the pieces in ${source} come to ${numNodes} bytes; at most 8 MiB are supported`);
  const bits = Math.max(4, Math.ceil(Math.log2(numNodes * 2)));
  const edges = new Int32Array(2 ** bits).fill(-1);
  const targets = new Int32Array(2 ** bits);
  const ids = new Int32Array(numNodes).fill(-1);

  /** Where the edge is, or the free slot where it belongs (linear probing). */
  function slotOf(edge: number): number {
    let slot = Math.imul(edge, 0x9e3779b1) >>> (32 - bits);
    while (edges[slot] !== edge && edges[slot] !== -1) slot = (slot + 1) & (edges.length - 1);
    return slot;
  }

  let used = 1;
  encoded.forEach((bytes, index) => {
    let node = 0;
    for (const byte of bytes) {
      const edge = node * 256 + byte;
      const slot = slotOf(edge);
      if (edges[slot] === -1) {
        edges[slot] = edge;
        targets[slot] = used++;
      }
      node = targets[slot];
    }
    ids[node] = keys[index][1];
  });

  return {
    step(node, byte) {
      const slot = slotOf(node * 256 + byte);
      return edges[slot] === -1 ? -1 : targets[slot];
    },
    idAt: (node) => ids[node],
  };
}

/** The length in bytes of the longest key that `text` has at `start`, or 0. */
export function longestKey(trie: PieceTrie, text: Uint8Array, start: number): number {
  let longest = 0;
  let node = trie.step(0, text[start]);
  for (let at = start + 1; node >= 0; at++) {
    if (trie.idAt(node) >= 0) longest = at - start;
    node = at < text.length ? trie.step(node, text[at]) : -1;
  }
  return longest;
}

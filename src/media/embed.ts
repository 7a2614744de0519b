/** @file Text inside GIF, WebP and PNG files, whose FFmpeg muxers drop metadata: a comment, an XMP chunk, iTXt chunks. */
import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";

/** Appends a comment extension (GIF89a, section 24) holding UTF-8 `text` before the trailer of a finished GIF. */
export async function appendGifComment(file: string, text: string): Promise<void> {
  const bytes = Buffer.from(text, "utf8");
  const blocks = [Buffer.from([0x21, 0xfe])];
  for (let at = 0; at < bytes.length; at += 255) {
    const block = bytes.subarray(at, at + 255);
    blocks.push(Buffer.from([block.length]), block);
  }
  blocks.push(Buffer.from([0, 0x3b]));
  await withFile(file, async (handle) => {
    const { size } = await handle.stat();
    await writeAll(handle, Buffer.concat(blocks), size - 1); // over the trailer byte 0x3b
  });
}

/** The comments of a GIF, in order, decoded as UTF-8; what follows a damaged block is ignored. */
export function gifComments(gif: Uint8Array): string[] {
  const comments: string[] = [];
  let at = 13 + colourTableLength(gif[10]);
  while (at < gif.length && gif[at] !== 0x3b) {
    const isExtension = gif[at] === 0x21;
    if (!isExtension && gif[at] !== 0x2c) break;
    const isComment = isExtension && gif[at + 1] === 0xfe;
    // An image descriptor is 10 bytes, its colour table, and one byte of code size before the sub-blocks.
    at += isExtension ? 2 : 11 + colourTableLength(gif[at + 9]);
    const parts: Uint8Array[] = [];
    while (gif[at] > 0) {
      if (isComment) parts.push(gif.subarray(at + 1, at + 1 + gif[at]));
      at += 1 + gif[at];
    }
    at += 1;
    if (isComment) comments.push(Buffer.concat(parts).toString("utf8"));
  }
  return comments;
}

function colourTableLength(packed: number): number {
  return packed & 0x80 ? 3 * 2 ** ((packed & 7) + 1) : 0;
}

/**
 * Adds an XMP packet to a finished WebP file (RIFF; WebP container specification). A still file has no extended
 * header; it is rewritten with one, so `width` and `height` are needed.
 */
export async function appendWebpXmp(
  file: string,
  packet: string,
  size: { width: number; height: number },
): Promise<void> {
  const xmp = Buffer.from(packet, "utf8");
  await withFile(file, async (handle) => {
    const head = Buffer.alloc(21);
    await handle.read(head, 0, head.length, 0);
    if (head.toString("latin1", 12, 16) !== "VP8X") await insertExtendedHeader(handle, size);
    else await writeAll(handle, Buffer.from([head[20] | XMP_FLAG]), 20);
    const end = (await handle.stat()).size;
    const chunk = riffChunk("XMP ", xmp);
    await writeAll(handle, chunk, end);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(end + chunk.length - 8);
    await writeAll(handle, length, 4);
  });
}

const XMP_FLAG = 0x04;

async function insertExtendedHeader(
  handle: FileHandle,
  { width, height }: { width: number; height: number },
): Promise<void> {
  const { size } = await handle.stat();
  const image = Buffer.alloc(size - 12);
  await handle.read(image, 0, image.length, 12);
  const header = Buffer.alloc(10);
  header[0] = XMP_FLAG;
  header.writeUIntLE(width - 1, 4, 3);
  header.writeUIntLE(height - 1, 7, 3);
  await writeAll(handle, Buffer.concat([riffChunk("VP8X", header), image]), 12);
}

function riffChunk(name: string, data: Buffer): Buffer {
  const head = Buffer.alloc(8, name, "latin1");
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
}

/** What an XMP packet says: a description (dc) and where the content comes from (IPTC, a URI). */
export type XmpFields = { readonly description?: string; readonly digitalSourceType?: string };

/** An XMP packet (ISO 16684-1) as text. */
export function xmpPacket({ description, digitalSourceType }: XmpFields): string {
  const escaped = (text: string) => text.replace(/[&<>]/g, (character) => entities[character]);
  const dc =
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>' +
    `<rdf:li xml:lang="x-default">${escaped(description ?? "")}</rdf:li>` +
    "</rdf:Alt></dc:description></rdf:Description>";
  const iptc =
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">' +
    `<Iptc4xmpExt:DigitalSourceType>${escaped(digitalSourceType ?? "")}</Iptc4xmpExt:DigitalSourceType>` +
    "</rdf:Description>";
  return (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">' +
    `${description === undefined ? "" : dc}${digitalSourceType === undefined ? "" : iptc}</rdf:RDF></x:xmpmeta>`
  );
}

/** The IPTC digital source type of an XMP packet, as an element or an attribute; null when it has none. */
export function xmpDigitalSourceType(xmp: string): string | null {
  const found = /Iptc4xmpExt:DigitalSourceType(?:>|=")([^<"]+)/.exec(xmp);
  return found?.[1].trim() ?? null;
}

/** Appends an XMP packet to a finished MP4. */
export async function appendMp4Xmp(file: string, xmp: string): Promise<void> {
  await withFile(file, async (handle) => writeAll(handle, mp4XmpBox(xmp), (await handle.stat()).size));
}

/** An XMP packet as a box that stands at the top level of an MP4 (XMP part 3, MPEG-4). */
export function mp4XmpBox(xmp: string): Buffer {
  const packet = Buffer.from(xmp, "utf8");
  const head = Buffer.alloc(8);
  head.writeUInt32BE(24 + packet.length, 0);
  head.write("uuid", 4, "latin1");
  return Buffer.concat([head, Buffer.from("be7acfcb97a942e89c71999491e3afac", "hex"), packet]);
}

/** Puts an XMP packet (XMP part 3, GIF) before the trailer of a finished GIF. */
export async function appendGifXmp(file: string, xmp: string): Promise<void> {
  // The packet is not cut into blocks. Whoever reads it as blocks lands in the bytes that count down to the end.
  const countdown = Buffer.from([1, ...Array.from({ length: 256 }, (_, i) => 255 - i), 0]);
  const head = Buffer.from([0x21, 0xff, 11]);
  const parts = [head, Buffer.from("XMP DataXMP"), Buffer.from(xmp, "utf8"), countdown, Buffer.from([0x3b])];
  await withFile(file, async (handle) =>
    writeAll(handle, Buffer.concat(parts), (await handle.stat()).size - 1),
  );
}

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

/** The dc:description of an XMP packet, or null when it has none. */
export function xmpDescription(xmp: string): string | null {
  const found = /<dc:description>\s*<rdf:Alt>\s*<rdf:li[^>]*>([\s\S]*?)<\/rdf:li>/.exec(xmp);
  if (!found) return null;
  return found[1].replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
}

/** `png` with one uncompressed iTXt chunk (PNG 1.2, 4.2.3.3) per tag after its header; keywords get a capital letter. */
export function addPngText(png: Buffer, tags: Record<string, string>): Buffer {
  const headerEnd = 8 + 25; // signature and IHDR have fixed lengths
  const chunks = Object.entries(tags).map(([tag, text]) => {
    const keyword = tag[0].toUpperCase() + tag.slice(1);
    return pngChunk("iTXt", Buffer.from(`${keyword}\0\0\0\0\0${text}`, "utf8"));
  });
  return Buffer.concat([png.subarray(0, headerEnd), ...chunks, png.subarray(headerEnd)]);
}

function pngChunk(name: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(name, "latin1"), data]);
  const chunk = Buffer.alloc(body.length + 8);
  chunk.writeUInt32BE(data.length, 0);
  body.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(body), body.length + 4);
  return chunk;
}

async function withFile(file: string, edit: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await open(file, "r+");
  try {
    await edit(handle);
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

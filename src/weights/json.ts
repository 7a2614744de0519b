/** @file Parses JSON from bytes, refusing the repeated keys that JSON.parse would hide. */

/** The parsed value, or in `problem` half a sentence that says what is wrong with the text. */
export type ParsedJson = { readonly value: unknown } | { readonly problem: string };

/** Strict UTF-8, strict JSON, and no object with the same key twice, at any depth. */
export function parseJson(bytes: Uint8Array): ParsedJson {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { problem: "is not UTF-8 text" };
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { problem: `is not JSON (${oneLine((error as Error).message)})` };
  }
  const repeated = repeatedKey(text);
  return repeated === undefined
    ? { value }
    : { problem: `holds the key ${shorten(repeated)} more than once` };
}

/** Whether a parsed value is an object with keys. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// The parser's message quotes the text, which may be binary rubbish.
function oneLine(message: string): string {
  const line = message.replace(/[^\x20-\x7e]+/g, " ");
  return line.length <= 120 ? line : `${line.slice(0, 117)}...`;
}

function shorten(key: string): string {
  return JSON.stringify(key.length <= 120 ? key : `${key.slice(0, 117)}...`);
}

/** The first key that an object of the (valid) JSON text repeats; one pass, no recursion. */
function repeatedKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === "{" || char === "[") open.push(new Set());
    else if (char === "}" || char === "]") open.pop();
    else if (char === '"') {
      const end = endOfString(text, i);
      if (isKey(text, end)) {
        const key = JSON.parse(text.slice(i, end)) as string;
        const keys = open[open.length - 1];
        if (keys.has(key)) return key;
        keys.add(key);
      }
      i = end - 1;
    }
  }
  return undefined;
}

/** Index just after the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i + 1;
}

function isKey(text: string, end: number): boolean {
  let i = end;
  while (text[i] === " " || text[i] === "\n" || text[i] === "\t" || text[i] === "\r") i++;
  return text[i] === ":";
}

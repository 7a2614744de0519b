/** @file Pictures in the documentation that stand right below the commands which make what they show. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { docPages } from "./doc-pages.ts";
import { shellWords } from "./shell-words.ts";
import { root } from "./source-files.ts";

/** A call of `npx cogvideox`: what makes a clip, and what it is told. */
export type PictureCall = { readonly command: "generate" | "data"; readonly args: readonly string[] };

/** A picture docs/images/modes/NAME.png and its commands, one for every line of the block of code. */
export type DocPicture = { readonly name: string; readonly calls: readonly PictureCall[] };

/** The pictures of all pages in docs/, in the order of the pages' names. */
export function docPictures(): DocPicture[] {
  return docPages().flatMap((page) => picturesIn(readFileSync(join(root, page), "utf8")));
}

/**
 * The pictures of one page.
 * @throws Error for a block of code above a picture that holds anything but calls of generate and data edges
 */
export function picturesIn(page: string): DocPicture[] {
  const blocks = page.matchAll(
    /^```\w*\n((?:(?!```)[\s\S])*)^```\n\s*!\[[^\]]*\]\((?:\.\.\/)?images\/modes\/([\w-]+)\.png\)/gm,
  );
  return [...blocks].map(([, code, name]) => {
    const lines = code
      .replace(/\\\n\s*/g, " ")
      .trim()
      .split("\n");
    return { name, calls: lines.map((line) => callIn(line, name)) };
  });
}

function callIn(line: string, name: string): PictureCall {
  const [npx, program, command, ...args] = shellWords(line);
  const isOurs = npx === "npx" && program === "cogvideox";
  if (isOurs && (command === "generate" || (command === "data" && args[0] === "edges")))
    return { command, args };
  throw new Error(
    `the code above the picture ${name} must be calls of npx cogvideox generate or data edges, got: ${line}`,
  );
}

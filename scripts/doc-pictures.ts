/** @file Pictures in the documentation that stand right below the commands which make what they show. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { shellWords } from "./shell-words.ts";
import { root } from "./source-files.ts";

/** A picture docs/images/modes/NAME.png and its commands. */
export type DocPicture = {
  readonly name: string;
  /** Arguments behind `npx cogvideox generate`, for every line of the block of code. */
  readonly calls: readonly (readonly string[])[];
};

/** The pictures of all pages in docs/, in the order of the pages' names. */
export function docPictures(): DocPicture[] {
  const pages = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  return pages.sort().flatMap((page) => picturesIn(readFileSync(join(root, "docs", page), "utf8")));
}

/**
 * The pictures of one page.
 * @throws Error for a block of code above a picture that holds anything but calls of generate
 */
export function picturesIn(page: string): DocPicture[] {
  const blocks = page.matchAll(
    /^```\w*\n((?:(?!```)[\s\S])*)^```\n\s*!\[[^\]]*\]\(images\/modes\/([\w-]+)\.png\)/gm,
  );
  return [...blocks].map(([, code, name]) => {
    const lines = code
      .replace(/\\\n\s*/g, " ")
      .trim()
      .split("\n");
    return { name, calls: lines.map((line) => callIn(line, name)) };
  });
}

function callIn(line: string, name: string): string[] {
  const [npx, program, command, ...args] = shellWords(line);
  if (npx === "npx" && program === "cogvideox" && command === "generate") return args;
  throw new Error(`the code above the picture ${name} must be calls of npx cogvideox generate, got: ${line}`);
}

/** @file The pages of the documentation. */
import { readdirSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { root } from "./source-files.ts";

/** Every .md file in docs/ and the folders in it, relative to the project with forward slashes, in the order of names. */
export function docPages(): string[] {
  return readdirSync(join(root, "docs"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".md"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}

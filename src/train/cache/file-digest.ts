/** @file Digests of files, remembered for as long as the file system says that a file is the same. */
import { createHash } from "node:crypto";
import { type BigIntStats, createReadStream } from "node:fs";
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { ConfigError, nothingAt } from "../../errors.ts";
import { writeWhole } from "../run/whole-file.ts";
import { type Digest, digestOfFacts } from "./key.ts";

/** Clocks of file systems are coarse: a file this young may change again without its times telling. */
const SETTLED_MS = 2000;

/**
 * Digests of the content of files. What was read once is not read again, also not by later processes, while path,
 * inode, size and the times of content and inode stay the same; text encoders have up to 19 GB.
 */
export class FileDigests {
  private readonly remembered = new Map<string, Digest>();
  private readonly placeOf: (name: Digest) => string;

  /** @param placeOf path of the small file that remembers the digest of this name */
  constructor(placeOf: (name: Digest) => string) {
    this.placeOf = placeOf;
  }

  /**
   * Digest of a file's bytes; of a folder's file names and contents, at any depth.
   * @throws ConfigError for what is missing, or changes while it is read
   */
  async of(path: string): Promise<Digest> {
    const file = resolve(path);
    const found = await statOf(file);
    if (found.isDirectory()) return this.ofFolder(file);
    const name = nameOf(file, found);
    const known = this.remembered.get(name) ?? (await recall(this.placeOf(name)));
    if (known !== null) {
      this.remembered.set(name, known);
      return known;
    }
    const digest = await digestOfFile(file);
    if (nameOf(file, await statOf(file)) !== name)
      throw new ConfigError(`"${file}" changed while it was read; wait until it is complete`);
    const isSettled = Date.now() - Number(found.ctimeMs) > SETTLED_MS;
    if (isSettled) await this.remember(name, digest);
    return digest;
  }

  private async ofFolder(folder: string): Promise<Digest> {
    const names = (await readdir(folder)).filter((name) => !name.startsWith(".")).sort();
    const entries: [string, Digest][] = [];
    for (const name of names) entries.push([name, await this.of(join(folder, name))]);
    return digestOfFacts(entries);
  }

  private async remember(name: Digest, digest: Digest): Promise<void> {
    this.remembered.set(name, digest);
    const place = this.placeOf(name);
    await mkdir(dirname(place), { recursive: true });
    await writeWhole(place, digest);
  }
}

async function statOf(file: string): Promise<BigIntStats> {
  return stat(file, { bigint: true }).catch((cause) => {
    throw nothingAt(file, cause);
  });
}

function nameOf(file: string, { dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): Digest {
  return digestOfFacts([file, ...[dev, ino, size, mtimeNs, ctimeNs].map(String)]);
}

async function recall(place: string): Promise<Digest | null> {
  const text = await readFile(place, "utf8").catch(() => "");
  return /^[0-9a-f]{64}$/.test(text) ? text : null;
}

async function digestOfFile(file: string): Promise<Digest> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(piece);
  return hash.digest("hex");
}

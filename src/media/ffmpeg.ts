/** @file Loads node-av (FFmpeg for Node), an optional dependency, when a video is first touched, and words its errors. */
import type * as Constants from "node-av/constants";
import type * as Lib from "node-av/lib";
import { ConfigError } from "../errors.ts";

/** The parts of node-av used here: its one-to-one FFmpeg classes and FFmpeg's constants. */
export interface Ffmpeg {
  readonly lib: typeof Lib;
  readonly constants: typeof Constants;
}

let loading: Promise<Ffmpeg> | undefined;

/**
 * node-av, loaded once and silenced (FFmpeg would log to stderr). Throws ConfigError, saying what to install, when the
 * optional dependency is missing or has no binary for this machine.
 */
export function loadFfmpeg(): Promise<Ffmpeg> {
  loading ??= importNodeAv();
  return loading;
}

async function importNodeAv(): Promise<Ffmpeg> {
  try {
    const [lib, constants] = await Promise.all([import("node-av/lib"), import("node-av/constants")]);
    lib.Log.setLevel(constants.AV_LOG_QUIET);
    return { lib, constants };
  } catch (cause) {
    throw new ConfigError(
      'reading and writing video needs the optional package "node-av", which could not be loaded; ' +
        "install it with `npm install node-av@6.1.1`, or write the frames to a folder (a path ending in /)",
      { cause },
    );
  }
}

/** Returns `code` when FFmpeg reports success, and otherwise throws the sentence for `file` (see `fileFailure`). */
export function check({ lib, constants }: Ffmpeg, code: number, doing: string, file: string): number {
  if (code >= 0) return code;
  const cause = new lib.FFmpegError(code);
  throw fileFailure(doing, file, posixName(constants, code), cause.message, cause);
}

function posixName(constants: typeof Constants, code: number): string | undefined {
  return ["ENOSPC", "EACCES", "EPERM", "ENOENT", "ENOTDIR", "EISDIR", "EMFILE", "ENOMEM"].find(
    (name) => constants[`AVERROR_${name}` as "AVERROR_ENOSPC"] === code,
  );
}

const remedies: Record<string, string> = {
  ENOSPC: "the disk is full; free some space or choose another folder",
  EDQUOT: "the disk quota is used up; free some space or choose another folder",
  EROFS: "the disk is read-only; choose another folder",
  EACCES: "permission is denied; change the permissions or choose another folder",
  EPERM: "permission is denied; change the permissions or choose another folder",
  ENOENT: "there is no such file or folder; create the folder or correct the path",
  ENOTDIR: "a part of the path is a file, not a folder; correct the path",
  EISDIR: "the path is a folder; give the name of a file",
  EMFILE: "too many files are open; close some or raise the limit (ulimit -n)",
  ENOMEM: "memory ran out; use fewer or smaller frames",
};

/** An Error that names what was being done, the file, and the remedy for the usual operating system errors. */
export function fileFailure(
  doing: string,
  file: string,
  code: string | undefined,
  detail: string,
  cause: unknown,
): Error {
  return new Error(`cannot ${doing} "${file}": ${(code && remedies[code]) ?? detail}`, { cause });
}

/** `fileFailure` for an error thrown by node:fs; anything else comes back as it is. */
export function systemFailure(doing: string, file: string, error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return error;
  return fileFailure(doing, file, error.code, error.message, error);
}

/** @file What an independent program finds in a video file. */
import { execFileSync, spawnSync } from "node:child_process";

/** Whether ffprobe is installed. */
export const hasFfprobe = () => spawnSync("ffprobe", ["-version"]).status === 0;

/** The streams of a video file, with their frames counted by decoding them. */
export function probe(file: string): unknown[] {
  const args = ["-v", "error", "-count_frames", "-show_streams", "-of", "json", file];
  return JSON.parse(execFileSync("ffprobe", args).toString()).streams;
}

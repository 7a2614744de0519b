/** @file What processes that were killed have left of videos. */
import { rm } from "node:fs/promises";
import { draftsBeside } from "../media/drafts.ts";
import { isRunning } from "../runtime/living.ts";

/** Removes the drafts of a video whose processes have died; those of living ones stay. */
export async function removeDeadDrafts(output: string): Promise<void> {
  for (const { path, pid } of await draftsBeside(output))
    if (!isRunning(pid)) await rm(path, { recursive: true, force: true });
}

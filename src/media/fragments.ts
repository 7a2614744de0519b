/** @file Videos that can be watched while they are written: fragmented MP4, in a file or on standard output. */
import { rename, rm } from "node:fs/promises";
import { mp4XmpBox, xmpPacket } from "./embed.ts";
import { type EncoderOptions, openEncoder, type VideoSink } from "./encode.ts";
import { fragmentedMp4 } from "./formats.ts";

/** Stands for standard output where the name of a file is expected. */
export const STDOUT = "-";

type Fragments = EncoderOptions & { readonly quality: number; readonly digitalSourceType?: string };

/**
 * Opens a fragmented MP4 at `draft`, which takes the name of `target` with its first fragment, so that whoever opens that
 * name finds pictures, and an older file stays until then.
 */
export async function openFragmentedFile(
  target: string,
  draft: string,
  options: Fragments,
): Promise<VideoSink> {
  const encoder = await openFragments(draft, { ...options, name: target });
  let file = draft;
  const publish = async () => {
    if (file !== target) await rename(draft, target);
    file = target;
  };
  return {
    ...encoder,
    show: async () => {
      await encoder.endFragment();
      await publish();
    },
    publish,
    discard: () => rm(file, { force: true }),
  };
}

/** Opens a fragmented MP4 on standard output. What has been written there cannot be taken back. */
export async function openStdout(options: Fragments): Promise<VideoSink> {
  const encoder = await openFragments("pipe:1", { ...options, name: "standard output" });
  return { ...encoder, show: encoder.endFragment, publish: async () => {}, discard: async () => {} };
}

/** The mark of where the content comes from stands before the pictures: who reads along has not seen the end. */
function openFragments(file: string, { quality, digitalSourceType, ...options }: Fragments) {
  const behindHeader =
    digitalSourceType === undefined ? undefined : mp4XmpBox(xmpPacket({ digitalSourceType }));
  return openEncoder(file, fragmentedMp4(quality), { ...options, behindHeader });
}

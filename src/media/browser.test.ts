/** @file Test that a browser plays what is written. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chromiumPath, hasPlayer, openPlayer, type Player } from "../../test/helpers/player.ts";
import { createVideoWriter } from "./write.ts";

const folder = mkdtempSync(path.join(tmpdir(), "media-browser-"));
let player: Player;

describe.skipIf(!hasPlayer())(`chromium (skipped where ${chromiumPath} is absent)`, () => {
  beforeAll(async () => {
    player = await openPlayer();
  });
  afterAll(async () => {
    await player?.close();
    rmSync(folder, { recursive: true });
  });

  test.each(["clip.mp4", "clip.webm"])(
    "plays %s in a video element with the right size, length and colour",
    async (name) => {
      const writer = await createVideoWriter(path.join(folder, name), { width: 96, height: 64, fps: 8 });
      for (let t = 0; t < 9; t++)
        await writer.write(new Uint8Array(96 * 64 * 3).map((_, i) => [200, 30, 60][i % 3]));
      await writer.finish();
      const { pixel, duration, ...seen } = await player.play(path.join(folder, name));
      expect(seen).toEqual({ width: 96, height: 64, frames: 9 });
      expect(duration).toBeCloseTo(1.125, 2);
      expect(pixel).toBeCloseToArray([200, 30, 60], { atol: 6 });
    },
  );
});

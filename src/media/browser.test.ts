/** @file Test that a browser plays what is written. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createVideoWriter } from "./write.ts";

const executablePath = "/usr/bin/chromium";
const folder = mkdtempSync(path.join(tmpdir(), "media-browser-"));
let browser: Browser;
let server: Server;

describe.skipIf(!existsSync(executablePath))("chromium (skipped where /usr/bin/chromium is absent)", () => {
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    server = createServer((request, response) => serve(request.url ?? "", response));
    await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  });
  afterAll(async () => {
    await browser?.close();
    server?.close();
    rmSync(folder, { recursive: true });
  });

  test.each(["clip.mp4", "clip.webm"])(
    "plays %s in a video element with the right size, length and colour",
    async (name) => {
      const writer = await createVideoWriter(path.join(folder, name), { width: 96, height: 64, fps: 8 });
      for (let t = 0; t < 9; t++)
        await writer.write(new Uint8Array(96 * 64 * 3).map((_, i) => [200, 30, 60][i % 3]));
      await writer.finish();
      const page = await browser.newPage();
      const { port } = server.address() as AddressInfo;
      await page.goto(`http://127.0.0.1:${port}/${name}.html`);
      await page.waitForFunction("document.querySelector('video').ended");
      const seen = (await page.evaluate(inspectPage)) as {
        state: number[];
        duration: number;
        pixel: number[];
      };
      expect(seen.state).toEqual([4, 96, 64]);
      expect(seen.duration).toBeCloseTo(1.125, 2);
      expect(seen.pixel).toBeCloseToArray([200, 30, 60], { atol: 6 });
      await page.close();
    },
  );
});

const inspectPage = `(() => {
  const video = document.querySelector("video");
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.drawImage(video, 0, 0);
  const pixel = [...canvas.getImageData(48, 32, 1, 1).data.slice(0, 3)];
  return { state: [video.readyState, video.videoWidth, video.videoHeight], duration: video.duration, pixel };
})()`;

/** Answers with a page that plays a clip, or the clip itself. */
function serve(url: string, response: ServerResponse): void {
  if (url.endsWith(".html")) {
    response.setHeader("content-type", "text/html");
    response.end(`<video muted autoplay src="${url.slice(0, -5)}"></video>`);
    return;
  }
  response.setHeader("content-type", `video/${path.extname(url).slice(1)}`);
  response.end(existsSync(path.join(folder, url)) ? readFileSync(path.join(folder, url)) : "");
}

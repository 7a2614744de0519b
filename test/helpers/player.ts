/** @file Chromium as a player of video files, which it gets over loopback. */
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname } from "node:path";
import { type Browser, chromium } from "playwright-core";

/** Where Chromium is, if it is installed. */
export const chromiumPath = "/usr/bin/chromium";

/** Whether Chromium is installed. */
export const hasPlayer = () => existsSync(chromiumPath);

/** What a browser has seen of a video that it played to its end. */
export type Played = {
  readonly width: number;
  readonly height: number;
  /** Seconds. */
  readonly duration: number;
  /** Frames that were decoded, shown or not. */
  readonly frames: number;
  /** Red, green and blue in the middle of the last frame. */
  readonly pixel: readonly number[];
};

export type Player = {
  /** Plays a video file in a page of its own. @throws when it does not reach its end within half a minute */
  play(file: string): Promise<Played>;
  close(): Promise<void>;
};

/** Starts the browser, and a server that hands it one file at a time. */
export async function openPlayer(): Promise<Player> {
  let playing = "";
  const server = createServer(({ url }, response) => {
    const isPage = url === "/";
    response.setHeader("content-type", isPage ? "text/html" : `video/${extname(playing).slice(1)}`);
    response.end(isPage ? `<video muted autoplay src="/clip"></video>` : readFileSync(playing));
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const { port } = server.address() as AddressInfo;
  const browser = await chromium.launch({ executablePath: chromiumPath, args: ["--no-sandbox"] });
  return {
    play: (file) => {
      playing = file;
      return playPage(browser, `http://127.0.0.1:${port}/`);
    },
    close: async () => {
      await browser.close();
      server.close();
    },
  };
}

async function playPage(browser: Browser, url: string): Promise<Played> {
  const page = await browser.newPage();
  try {
    await page.goto(url);
    await page.waitForFunction("document.querySelector('video').ended");
    return await page.evaluate<Played>(lookAtVideo);
  } finally {
    await page.close();
  }
}

/** Runs in the page, which the compiler's settings know nothing of; gives a `Played`. */
const lookAtVideo = `(() => {
  const video = document.querySelector("video");
  const { videoWidth: width, videoHeight: height, duration } = video;
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.drawImage(video, -width / 2, -height / 2);
  const pixel = [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  return { width, height, duration, frames: video.getVideoPlaybackQuality().totalVideoFrames, pixel };
})()`;

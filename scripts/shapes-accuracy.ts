/** @file Prints the table of docs/data.md: how often the reader of shapes clips is right. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { judge, type Verdict } from "../src/data/shapes/reader/judge.ts";
import { readClip } from "../src/data/shapes/reader/read.ts";
import { renderScene } from "../src/data/shapes/render.ts";
import { drawScene } from "../src/data/shapes/scene.ts";
import { readVideo } from "../src/media/read.ts";
import { createVideoWriter } from "../src/media/write.ts";
import { blurred, faded, noise, noisy } from "../test/helpers/spoiled-clips.ts";

const count = Number(process.argv[2] ?? 300);
const clip = { width: 64, height: 64, frames: 17 };
const traits = ["colour", "shape", "motion", "size", "background", "camera", "everything"] as const;
const folder = await mkdtemp(join(tmpdir(), "shapes-"));

const ways: Readonly<Record<string, (rgb: Uint8Array) => Uint8Array | Promise<Uint8Array>>> = {
  "as rendered": (rgb) => rgb,
  "H.264 file, default quality": throughFile,
  "noise, sigma 6": (rgb) => noisy(rgb, 6),
  "3x3 blur": (rgb) => blurred(rgb, clip),
  "blur, then noise": (rgb) => noisy(blurred(rgb, clip), 6),
  "two blurs, noise, sigma 12": (rgb) => noisy(blurred(blurred(rgb, clip), clip), 12),
  "two thirds of the saturation": (rgb) => faded(rgb, 2 / 3),
  "nothing but noise": noise,
};

console.log(`| clips | ${traits.join(" | ")} |\n|---|${traits.map(() => "---:").join("|")}|`);
for (const [name, way] of Object.entries(ways)) {
  const verdicts: Verdict[] = [];
  for (let index = 0; index < count; index++) {
    const scene = drawScene({ seed: 2024, index, split: "all", twoObjects: 0.3, camera: 0.3 });
    verdicts.push(judge(readClip(await way(renderScene(scene, clip)), clip), scene));
  }
  const share = (trait: keyof Verdict) => (100 * verdicts.filter((verdict) => verdict[trait]).length) / count;
  console.log(`| ${name} | ${traits.map((trait) => share(trait).toFixed(1)).join(" | ")} |`);
}
await rm(folder, { recursive: true });

async function throughFile(rgb: Uint8Array): Promise<Uint8Array> {
  const file = join(folder, "clip.mp4");
  const writer = await createVideoWriter(file, { width: clip.width, height: clip.height, fps: 8 });
  const bytes = clip.width * clip.height * 3;
  for (let at = 0; at < rgb.length; at += bytes) await writer.write(rgb.subarray(at, at + bytes));
  await writer.finish();
  const frames: Uint8Array[] = [];
  for await (const frame of readVideo(file)) frames.push(frame.rgb);
  return Buffer.concat(frames);
}

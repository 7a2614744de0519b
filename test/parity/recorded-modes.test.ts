/** @file The command line with pictures and videos against whole runs of the reference, recorded with tiny checkpoints. */
import { readdirSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { readTensor } from "../../src/weights/read.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { difference, optionsOf, report, stored } from "../helpers/recorded-case.ts";

const root = "test/fixtures/checkpoints";
const cases = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .flatMap(({ name: checkpoint }) =>
    readdirSync(join(root, checkpoint, "expected"))
      .filter((name) => !name.startsWith("t2v-") && name.endsWith(".json"))
      .map((name) => ({ folder: join(root, checkpoint), name: name.slice(0, -5) })),
  );

/** Which tensor of a case becomes which option. */
const sources: { readonly [mode: string]: { readonly option: string; readonly tensor: string } } = {
  i2v: { option: "--image", tensor: "image" },
  v2v: { option: "--video", tensor: "video" },
  control: { option: "--control", tensor: "video" },
};

test.each(cases)("$folder $name generates the reference's latents and frames", async ({ folder, name }) => {
  const call = JSON.parse(readFileSync(join(folder, "expected", `${name}.json`), "utf8"));
  const expected = join(folder, "expected", `${name}.safetensors`);
  const out = temporaryFolder();
  const [latents, frames] = [join(out, "latents.safetensors"), join(out, "frames.safetensors")];
  const files = ["--save-latents", latents, "--save-frames", frames, "-o", join(out, "clip.mp4")];
  const { option, tensor } = sources[name.split("-")[0]];
  const source = await pictures(expected, tensor, out);
  const args = ["--model", folder, ...optionsOf(call), option, source, ...files, "--json"];
  const ended = await cogvideox(["generate", ...args]);
  expect(ended).toMatchObject({ status: 0 });
  expect(jsonLines(ended)[1]).toMatchObject({ event: "source", width: 64, height: 48, fit: null });
  report(`${folder} ${name} latents`, await difference(latents, expected, "latents"));
  report(`${folder} ${name} frames`, await difference(frames, expected, "frames"));
});

/** The recorded picture as a PNG file, or the recorded frames as a folder of them. */
async function pictures(file: string, tensor: string, folder: string): Promise<string> {
  const recorded = await stored(file, tensor);
  const values = (await readTensor(recorded)) as Uint8Array;
  const [height, width] = recorded.shape.slice(-3);
  const target = join(folder, "source");
  const size = width * height * 3;
  const write = (index: number, name: string) =>
    sharp(values.subarray(index * size, (index + 1) * size), { raw: { width, height, channels: 3 } })
      .png()
      .toFile(name);
  if (recorded.shape.length === 3) {
    await write(0, `${target}.png`);
    return `${target}.png`;
  }
  await mkdir(target);
  for (let i = 0; i < recorded.shape[0]; i++) await write(i, join(target, `${i}.png`));
  return target;
}

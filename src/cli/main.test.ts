/** @file The command line's surface, frozen: a change here is a change for everyone who calls it. */
import { expect, test } from "vitest";
import { commandHelp, commonOptions } from "./command.ts";
import { commands } from "./main.ts";
import { describeGroups } from "./options.ts";

test("commands and options are these", async () => {
  const surface = commands.map(({ name, positionals, options }) => {
    const listed = describeGroups({ Options: options })
      .slice(2)
      .map((line) => line.trim().split(/ {2,}/)[0]);
    return [[name, ...positionals].join(" "), ...listed.map((option) => `  ${option}`), ""].join("\n");
  });
  await expect(surface.join("")).toMatchFileSnapshot("../../test/fixtures/cli/surface.txt");
});

test("options say what they are in one line that ends without a full stop", () => {
  const all = [...commands, { name: "all", options: commonOptions }];
  const abouts = all.flatMap(({ name, options }) =>
    Object.entries(options).map(([option, { about }]) => ({ option: `${name} --${option}`, about })),
  );
  expect(abouts.filter(({ about }) => about === "" || about.endsWith(".") || about.includes("\n"))).toEqual(
    [],
  );
});

test("no option hides one that every command has, and letters are used once", () => {
  for (const { name, options } of commands) {
    const both = { ...commonOptions, ...options };
    expect(Object.keys(both).length, name).toBe(
      Object.keys(commonOptions).length + Object.keys(options).length,
    );
    const letters = Object.values(both).flatMap((spec) =>
      "short" in spec && spec.short ? [spec.short] : [],
    );
    expect(new Set(letters).size, name).toBe(letters.length);
  }
});

test("generate and plan have headings, under which every option stands once", () => {
  const grouped = commands.filter(({ groups }) => groups !== undefined);
  expect(grouped.map(({ name }) => name)).toEqual(["generate", "plan"]);
  for (const { groups = {}, options } of grouped)
    expect(Object.values(groups).flatMap(Object.keys)).toEqual(Object.keys(options));
  const headings = commandHelp(grouped[0]).match(/^\S.*:$/gm);
  expect(headings).toEqual([...Object.keys(grouped[0].groups!), "Other"].map((heading) => `${heading}:`));
});

test("the help of a command shows its usage and its options", () => {
  const forward = commands.find(({ name }) => name === "forward")!;
  expect(commandHelp(forward)).toMatchInlineSnapshot(`
    "Run one part of a model on tensors from a file (transformer, vae-encode, vae-decode, text-encoder, sampler, add-noise).

    Usage: cogvideox forward PART [options]

    Options:
          --model DIR|ID                    checkpoint folder, or owner/name[@revision] on the hub (nano, which comes along)
          --inputs FILE                     safetensors file with the model's inputs
      -o, --output FILE                     safetensors file to write
          --prompt TEXT                     text-encoder: a prompt instead of input_ids
          --negative TEXT                   text-encoder: with --prompt, what to stay away from; for --prompt-states
          --tiling                          encode and decode in overlapping tiles: less memory, slightly different pixels
          --tile-size WxH                   with --tiling, pixels of a tile (half of the size that the VAE was trained for)
          --tile-overlap WxH                with --tile-size, pixels that neighbours share (about a sixth)
          --scheduler ddim|dpm|inverse      sampler: which (the checkpoint's own)
          --steps N                         sampler: steps of the whole run, 1 to 1000 (50)
          --seed N                          sampler: seed of what dpm draws (0)
          --parity                          sampler: repeat the reference's defects where the steps do not divide 1000
          --discretisation diffusers|sat    sampler: whose noise levels the steps visit (diffusers)
          --precision fp32|fp16|int8|w8|w4  arithmetic of the transformer: int8, w8, w4 quantise it once, fp16 is for GPUs
          --device cpu|webgpu|cuda          where to compute (cpu)
          --threads N                       threads for one operator (all cores)
          --json                            print one JSON object a line on stdout
      -h, --help                            show this help"
  `);
});

test.each(commands.map((command) => [command.name, command] as const))(
  "the help of %s fits a terminal",
  (_, command) => {
    const lines = commandHelp(command).split("\n");
    expect(lines.filter((line) => line.length > 120)).toEqual([]);
  },
);

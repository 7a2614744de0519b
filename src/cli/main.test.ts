/** @file The command line's surface, frozen: a change here is a change for everyone who calls it. */
import { expect, test } from "vitest";
import { commandHelp, commonOptions } from "./command.ts";
import { commands } from "./main.ts";
import { describeOptions } from "./options.ts";

test("commands and options are these", () => {
  const surface = commands.map(({ name, positionals, options }) => {
    const listed = describeOptions(options).map((line) => line.trim().split(/ {2,}/)[0]);
    return [[name, ...positionals].join(" "), ...listed.map((option) => `  ${option}`)].join("\n");
  });
  expect(surface.join("\n")).toMatchInlineSnapshot(`
    "generate [PROMPT]
      --model DIR|ID
      --lora FILE[:SCALE]
      -o, --output FILE
      --negative TEXT
      --image FILE
      --image-scaling scaled|inverted|unscaled
      --video FILE|DIR
      --strength N
      --control FILE|DIR
      --start-image FILE
      --end-image FILE
      --image-noise N
      --invert FILE|DIR
      --save-inverted FILE
      --fit crop|pad|stretch
      --width N
      --height N
      --frames N
      --fps N
      --steps N
      --guidance N
      --dynamic-cfg
      --stg N
      --stg-layers N,N
      --stg-rescale
      --scheduler ddim|dpm
      --seed N
      --tiling
      --precision fp32
      --device cpu|webgpu|cuda
      --threads N
      --latents FILE
      --save-latents FILE
      --save-frames FILE
    forward MODEL
      --model DIR|ID
      --inputs FILE
      -o, --output FILE
      --prompt TEXT
      --tiling
      --device cpu|webgpu|cuda
      --threads N
    download ID
      --revision REV
    data make-shapes|read [FILE...]
      -o, --output DIR
      --clips N
      --seed N
      --size PIXELS
      --frames N
      --fps N
      --split train|held-out|all
      --captions short|long|both
    convert IN OUT
      --to diffusers|sat
      --component transformer|vae|lora
      --dtype bf16|f16|f32
      --fuse-lora FILE[:SCALE]
      --alpha N
      --dry-run
    inspect PATH
    bench WHAT
      --layers N
      --width N
      --height N
      --frames N
      --mode decode|encode
      --precision fp32
      --device cpu|webgpu|cuda
      --threads N
      --runs N"
  `);
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

test("the help of a command shows its usage and its options", () => {
  const forward = commands.find(({ name }) => name === "forward")!;
  expect(commandHelp(forward)).toMatchInlineSnapshot(`
    "Run one model on tensors from a file (transformer, vae-encode, vae-decode, text-encoder).

    Usage: cogvideox forward MODEL [options]

    Options:
          --model DIR|ID            checkpoint folder, or a model on the hub: owner/name or owner/name@revision
          --inputs FILE             safetensors file with the model's inputs
      -o, --output FILE             safetensors file to write
          --prompt TEXT             text-encoder: a prompt instead of input_ids
          --tiling                  vae-encode, vae-decode: work in overlapping tiles
          --device cpu|webgpu|cuda  where to compute (cpu)
          --threads N               threads for one operator (all cores)
          --json                    print one JSON object a line on stdout
      -h, --help                    show this help"
  `);
});

test.each(commands.map((command) => [command.name, command] as const))(
  "the help of %s fits a terminal",
  (_, command) => {
    const lines = commandHelp(command).split("\n");
    expect(lines.filter((line) => line.length > 120)).toEqual([]);
  },
);

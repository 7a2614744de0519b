/** @file Tests of the two columns of the help. */
import { expect, test } from "vitest";
import { twoColumns } from "./columns.ts";
import { commandHelp } from "./command.ts";
import { generate } from "./commands/generate.ts";

const rows = [
  {
    left: "--steps N",
    about: "denoising steps, 1 to 1000 (50); 0 decodes the latents of a file and does nothing else",
  },
  {
    left: "--a-name-that-is-longer-than-its-column N",
    about: "said beside it, and going on below in the second column",
  },
];

test("lines stay whole where no terminal is", () => {
  expect(twoColumns(rows, 12)).toEqual([
    `  --steps N     ${rows[0].about}`,
    `  ${rows[1].left}  ${rows[1].about}`,
  ]);
});

test("what is wider than the terminal goes on below its own beginning", () => {
  expect(twoColumns(rows, 12, 72).join("\n")).toMatchInlineSnapshot(`
    "  --steps N     denoising steps, 1 to 1000 (50); 0 decodes the latents
                    of a file and does nothing else
      --a-name-that-is-longer-than-its-column N  said beside it, and going
                    on below in the second column"
  `);
});

test("the longest help fits a terminal of 80 columns", () => {
  const lines = commandHelp(generate, 80).split("\n");
  expect(lines.filter((line) => line.length > 80)).toEqual([]);
  expect(lines.join(" ").replace(/\s+/g, " ")).toBe(commandHelp(generate).replace(/\s+/g, " "));
});

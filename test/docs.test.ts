/** @file The documentation, held against the program. */
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { brokenCommands, brokenImports, brokenReferences, checkDocs } from "../scripts/check-docs.ts";
import { docPictures, picturesIn } from "../scripts/doc-pictures.ts";
import { shellWords } from "../scripts/shell-words.ts";
import { command } from "../src/cli/command.ts";

test("public names are described, files exist, commands can be called", async () => {
  expect(await checkDocs()).toEqual([]);
});

describe("references", () => {
  test("to what is there are fine", () => {
    const text = [
      "# A title, with `code`",
      "[the log](docs/log.md), [this](#a-title-with-code), [the web](https://example.com/x.md), `src/errors.ts`",
      "`transformer/config.json`, `config.json`, `src/models/{t5,vae}/*.ts`, `docs/`",
      "```sh\n[not a link](nowhere.md)\n```",
    ];
    expect(brokenReferences("README.md", text.join("\n"))).toEqual([]);
  });

  test.each([
    ["[x](docs/nowhere.md)", "the link docs/nowhere.md is broken"],
    ["[x](#nowhere)", "the link #nowhere is broken"],
    ["[x](docs/log.md#nowhere)", "the link docs/log.md#nowhere is broken"],
    ["see `src/nowhere.ts`", "src/nowhere.ts does not exist"],
    ["see `NOWHERE.md`", "NOWHERE.md does not exist"],
  ])("to what is not there are found: %s", (text, fault) => {
    expect(brokenReferences("README.md", text)).toEqual([`README.md: ${fault}`]);
  });

  test("are relative to the page they stand on", () => {
    expect(brokenReferences("docs/log.md", "[x](log.md) [y](../CHANGELOG.md)")).toEqual([]);
    expect(brokenReferences("docs/log.md", "[x](docs/log.md)")).toHaveLength(1);
  });
});

test("names that code imports from the package and that it does not have are found", () => {
  const page = (names: string) => `\`\`\`ts\nimport { ${names} } from "cogvideox";\n\`\`\`\n`;
  expect(brokenImports("README.md", page("load, type Clip"), ["load", "Clip"])).toEqual([]);
  expect(brokenImports("README.md", page("load, save"), ["load"])).toEqual([
    "README.md: cogvideox exports no save",
  ]);
});

describe("commands in code", () => {
  const draw = command({
    name: "draw",
    about: "Draw",
    positionals: ["PROMPT"],
    options: {
      steps: { kind: "integer", about: "steps" },
      output: { kind: "text", short: "o", about: "file" },
    },
    run: async () => {},
  });
  const faults = (line: string) =>
    brokenCommands("README.md", `\`\`\`sh\n${line}\n\`\`\`\n`, [draw], ["test", "check"]);

  test.each([
    'npx cogvideox draw "a red ball" --steps 3 -o out.mp4   # comment --bad',
    "$ npx cogvideox draw 'it is' --json | jq .event",
    'npx cogvideox draw "a prompt" \\\n  --steps 3',
    "cogvideox draw --help",
    "npx cogvideox --version && npm test",
    "npm run check",
    "npm ci",
    "npx tsx scripts/size.ts",
    "pip install nothing --bad",
  ])("are fine: %s", (line) => {
    expect(faults(line)).toEqual([]);
  });

  test.each([
    ["npx cogvideox paint x", "no command paint"],
    ["npx cogvideox draw x --step 3", "unknown option --step; did you mean --steps?"],
    ["npx cogvideox draw x --steps many", '--steps must be a whole number, got "many"'],
    ["npx cogvideox draw", "PROMPT is missing; see --help"],
    ["npx cogvideox draw a prompt", 'unexpected argument "prompt"'],
    ["npm run nothing", "no script nothing"],
    ["npm start", "no script start"],
    ["node examples/nowhere.ts", "examples/nowhere.ts does not exist"],
  ])("that cannot be called are found: %s", (line, fault) => {
    expect(faults(line).join()).toContain(`README.md: ${fault}`);
  });

  test("are read as a shell reads them", () => {
    expect(shellWords(`a "b c" 'd "e"' f\\ g --x="1 2" # h`)).toEqual([
      "a",
      "b c",
      'd "e"',
      "f g",
      "--x=1 2",
    ]);
    expect(shellWords("a b>c")).toEqual(["a", "b"]);
    expect(shellWords('a "" b')).toEqual(["a", "", "b"]);
  });
});

describe("pictures of modes", () => {
  test("stand below their commands, every one of them once", () => {
    const drawn = readdirSync("docs/images/modes").map((file) => file.replace(/\.png$/, ""));
    expect(
      docPictures()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(drawn.sort());
  });

  test("are made by the block of code right above them", () => {
    const block = (...lines: string[]) => ["```sh", ...lines, "```", ""];
    const page = [
      ...block("npm ci"),
      ...block('npx cogvideox generate "a star" \\', "  --seed 1", "npx cogvideox data edges b -o c"),
      "![x](images/modes/star.png)",
      ...block("npm test"),
      "A sentence between.",
      "![y](images/modes/other.png)",
    ].join("\n");
    const calls = [
      { command: "generate", args: ["a star", "--seed", "1"] },
      { command: "data", args: ["edges", "b", "-o", "c"] },
    ];
    expect(picturesIn(page)).toEqual([{ name: "star", calls }]);
    expect(picturesIn(page.replace("(images", "(../images"))).toEqual(picturesIn(page)); // from docs/modes/
    const wrong = page.replace("npx cogvideox data edges b", "npx cogvideox data read b");
    expect(() => picturesIn(wrong)).toThrow(
      /above the picture star must be calls .* got: npx cogvideox data read b/,
    );
  });
});

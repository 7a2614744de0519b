/** @file Tests of reading data sets in every layout, whole and broken. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { parseCsv } from "./csv.ts";
import { readClipFolder, requireWhole } from "./folder.ts";

const root = mkdtempSync(join(tmpdir(), "clips-folder-"));
afterAll(() => rmSync(root, { recursive: true }));
let numFolders = 0;

/** A folder with these files; what is called a video need not be one here. */
function dataSet(files: Readonly<Record<string, string>>): string {
  const folder = join(root, String(++numFolders));
  mkdirSync(folder);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

const lines = (...rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).join("\n");

describe("metadata.jsonl", () => {
  test("gives clips with their captions and weights, under either set of names", async () => {
    const folder = dataSet({
      "metadata.jsonl": `\ufeff${lines(
        { file: "a/x.mp4", caption: " A cat. ", long_caption: "A cat sits.", weight: 2, seed: 7 },
        { file_name: "b/x.mp4", text: "A dog." },
        { file: "a/x.mp4", caption: "The same cat." },
      )}\n\n`,
      "a/x.mp4": "",
      "b/x.mp4": "",
    });
    const { clips, problems } = await readClipFolder(folder);
    expect(problems).toEqual([]);
    expect(clips).toEqual([
      {
        id: "a/x.mp4",
        file: join(folder, "a/x.mp4"),
        caption: "A cat.",
        longCaption: "A cat sits.",
        weight: 2,
      },
      { id: "b/x.mp4", file: join(folder, "b/x.mp4"), caption: "A dog.", longCaption: null, weight: 1 },
      {
        id: "a/x.mp4#2",
        file: join(folder, "a/x.mp4"),
        caption: "The same cat.",
        longCaption: null,
        weight: 1,
      },
    ]);
  });

  test("names file and line of every broken row and keeps the others", async () => {
    const folder = dataSet({
      "metadata.jsonl": [
        '{"file": "x.mp4", "caption": "A cat."}',
        '{"file": "x.mp4", ',
        '["x.mp4"]',
        '{"caption": "A cat."}',
        '{"file": "x.mp4", "caption": "  "}',
        '{"file": "gone.mp4", "caption": "A cat."}',
        '{"file": "x.mp4", "caption": "A cat.", "weight": -1}',
        '{"file": "x.mp4", "caption": "A cat.", "caption": "A dog."}',
      ].join("\r\n"),
      "x.mp4": "",
    });
    const list = await readClipFolder(folder);
    expect(list.clips).toHaveLength(1);
    expect(list.problems).toEqual([
      expect.stringMatching(/^metadata.jsonl, line 2: the line is not JSON/),
      'metadata.jsonl, line 3: the line must be a JSON object with "file" and "caption"',
      "metadata.jsonl, line 4: the file must be a path relative to the data set, got nothing",
      'metadata.jsonl, line 5: the caption of "x.mp4" must be a text that is not empty, got "  "',
      `metadata.jsonl, line 6: there is no file "${join(folder, "gone.mp4")}"`,
      'metadata.jsonl, line 7: the weight of "x.mp4" must be a number above 0, got -1',
      expect.stringMatching(/^metadata.jsonl, line 8: the line holds the key "caption" more than once/),
    ]);
    expect(() => requireWhole(list, folder)).toThrow(
      /has 7 broken rows: metadata.jsonl, line 2: .*; \.\.\.$/,
    );
  });
});

describe("metadata.csv", () => {
  test("may quote commas, quotes and line breaks, and is counted in lines of the file", async () => {
    const folder = dataSet({
      "metadata.csv":
        'file_name,text,weight\r\nx.mp4,"A ""big"" cat,\r\nasleep.",0.5\r\ny.mp4,A dog.,\r\nx.mp4,A cat.,much\r\nx.mp4\r\n',
      "x.mp4": "",
    });
    const { clips, problems } = await readClipFolder(folder);
    expect(clips).toMatchObject([{ caption: 'A "big" cat,\r\nasleep.', weight: 0.5 }]);
    expect(problems).toEqual([
      `metadata.csv, line 4: there is no file "${join(folder, "y.mp4")}"`,
      'metadata.csv, line 5: the weight of "x.mp4" must be a number above 0, got "much"',
      "metadata.csv, line 6: the line has 1 fields, and the first line names 3 columns",
    ]);
  });

  test("must name its columns", async () => {
    const folder = dataSet({ "metadata.csv": "x.mp4,A cat.\n" });
    await expect(readClipFolder(folder)).rejects.toThrow(/has no column "file" or "file_name"/);
  });

  test.each([
    ["a,b", [["a", "b"]]],
    [
      "a,\n,b\n",
      [
        ["a", ""],
        ["", "b"],
      ],
    ],
    ['"a\nb",c\n\nd', [["a\nb", "c"], ["d"]]],
    ['"open, to the end', [["open, to the end"]]],
    ["", []],
  ])("reads %j", (text, fields) => {
    expect(parseCsv(text).map((record) => record.fields)).toEqual(fields);
  });
});

describe("lists of the official scripts", () => {
  test("belong together line by line", async () => {
    const folder = dataSet({
      "videos.txt": "videos/0.mp4\nvideos/1.mp4\n",
      "prompts.txt": "A cat.\n\n",
      "videos/0.mp4": "",
      "videos/1.mp4": "",
    });
    await expect(readClipFolder(folder)).rejects.toThrow(/has 2 lines and "prompts.txt" beside it has 1/);
    writeFileSync(join(folder, "prompts.txt"), "A cat.\nA dog.");
    expect((await readClipFolder(folder)).clips.map(({ caption }) => caption)).toEqual(["A cat.", "A dog."]);
    writeFileSync(join(folder, "prompts.txt"), "\nA dog.");
    const { clips, problems } = await readClipFolder(folder);
    expect(clips.map(({ id }) => id)).toEqual(["videos/1.mp4"]);
    expect(problems[0]).toMatch(/^videos.txt and prompts.txt, line 1: the caption of "videos\/0.mp4"/);
  });
});

describe("captions beside videos", () => {
  test("stand in the first line of a file of the same name, or under labels", async () => {
    const folder = dataSet({
      "one/videos/x.mp4": "",
      "one/labels/x.txt": "A cat.\nMore.",
      "two/x.MOV": "",
      "two/x.txt": "A dog.",
      "two/y.webm": "",
      "two/.x.mp4.partial-1": "",
      "two/.hidden.mp4": "",
    });
    const { clips, problems } = await readClipFolder(folder);
    expect(clips.map(({ id, caption }) => [id, caption])).toEqual([
      ["one/videos/x.mp4", "A cat."],
      ["two/x.MOV", "A dog."],
    ]);
    expect(problems).toEqual(['two/y.webm: it has no caption; write one to the first line of "two/y.txt"']);
  });

  test("a folder without any layout, and no folder, are told apart", async () => {
    await expect(readClipFolder(dataSet({ "readme.md": "" }))).rejects.toThrow(/holds no data set/);
    await expect(readClipFolder(join(root, "none"))).rejects.toThrow(ConfigError);
  });
});

/** @file The architecture, as rules that every source file keeps. */

import ts from "typescript";
import { describe, expect, test } from "vitest";
import {
  functionsOf,
  layerOf,
  parseSource,
  resolveImport,
  type SourceFile,
  sourceFiles,
  walk,
} from "../scripts/source-files.ts";

/**
 * What each folder of src/ may import. "folder" allows everything in it, "types folder" its types only, and
 * "folder/file.ts" that file alone. Everything may import itself and errors.ts.
 */
const allowed: Readonly<Record<string, readonly string[]>> = {
  graph: [],
  weights: [],
  media: [],
  hub: ["weights"],
  enhance: [],
  autodiff: ["graph"],
  nn: ["graph"],
  models: ["nn", "graph"],
  diffusion: [],
  runtime: ["graph", "weights"],
  pipeline: ["models", "runtime", "diffusion", "media", "weights", "types graph", "graph/shape.ts"],
  data: ["media", "weights"],
  distributed: ["types runtime"],
  // Of media only the arithmetic of pixels: what files hold comes through data.
  train: [
    "autodiff",
    "models",
    "nn",
    "graph",
    "runtime",
    "diffusion",
    "data",
    "weights",
    "distributed",
    "media/frames.ts",
  ],
  server: ["pipeline", "train", "media", "hub"],
  web: ["types server"],
  cli: [
    "graph",
    "weights",
    "media",
    "models",
    "diffusion",
    "runtime",
    "pipeline",
    "data",
    "train",
    "hub",
    "server",
    "enhance",
  ],
  "errors.ts": [],
  "index.ts": [
    "graph",
    "nn",
    "models",
    "weights",
    "media",
    "diffusion",
    "runtime",
    "pipeline",
    "train",
    "data",
    "hub",
    "enhance",
  ],
};

/** Where packages that tie us to one library may be imported. */
const packages: readonly { readonly name: RegExp; readonly layers: readonly string[] }[] = [
  { name: /^onnxruntime-/, layers: ["runtime"] },
  {
    name: /^(node-av|sharp|ffmpeg|fluent-ffmpeg|mediabunny|mp4box|mp4-muxer|webm-muxer|gifenc)/,
    layers: ["media"],
  },
  { name: /^node:(child_process|net|dgram|tls|http|https|http2)$/, layers: ["distributed", "server", "hub"] },
];

/** Folders that also run in a browser. */
const browserLayers = ["graph", "autodiff", "nn", "models", "diffusion"];

const maxFileLines = 400;
const maxFunctionLines = 60;

type Rule = (files: readonly SourceFile[]) => string[];

/** Every rule gives one line for each violation. Rules on imports leave tests out: they may reach for anything. */
const rules: Readonly<Record<string, Rule>> = {
  "folders import only what the layers allow": (files) =>
    eachImport(files, ({ path }, from, typeOnly) => {
      if (!from.startsWith(".")) return undefined;
      const target = resolveImport(path, from);
      return mayImport(layerOf(path), target, typeOnly)
        ? undefined
        : `${layerOf(path)} may not import ${target}`;
    }),
  "no file imports itself through others": cycles,
  "engine, codec, process and socket libraries stay in their folders": (files) =>
    eachImport(files, ({ path }, from) => {
      const limit = packages.find(({ name }) => name.test(from));
      if (limit === undefined || limit.layers.includes(layerOf(path))) return undefined;
      return `${from} may only be imported in ${limit.layers.join(" and ")}`;
    }),
  "graph, autodiff, nn, models and diffusion do without Node": (files) =>
    eachImport(files, ({ path }, from) =>
      browserLayers.includes(layerOf(path)) && from.startsWith("node:")
        ? `${from} does not exist in a browser`
        : undefined,
    ),
  "relative imports end in .ts": (files) =>
    files.flatMap(({ path, imports }) =>
      imports
        .filter(({ from }) => from.startsWith(".") && !/\.(ts|json)$/.test(from))
        .map(({ from }) => `${path}: ${from} must end in .ts`),
    ),
  "nothing is exported as default": (files) => eachNode(files, isDefaultExport, "default export"),
  "any is not used": (files) =>
    eachNode(
      files.filter(({ isTest }) => !isTest),
      (node) => node.kind === ts.SyntaxKind.AnyKeyword,
      "any",
    ),
  "messages of errors begin small and end without a full stop": (files) =>
    eachNode(
      files.filter(({ isTest }) => !isTest),
      (node) => isError(node) && !isMessage(node.arguments?.[0]?.getText() ?? ""),
      "a message that begins with a capital or ends with a full stop",
    ),
  "every file says first what it is": (files) =>
    files
      .filter(({ text }) => !/^(#!.*\n)?\/\*\* @file \S[^\n]* \*\/\n/.test(text))
      .map(({ path }) => `${path}: the first line must be /** @file one sentence */`),
  [`files have at most ${maxFileLines} lines`]: (files) =>
    files.filter(({ lines }) => lines > maxFileLines).map(({ path, lines }) => `${path}: ${lines} lines`),
  [`functions have at most ${maxFunctionLines} lines`]: (files) =>
    files.flatMap((file) =>
      functionsOf(file)
        .filter(({ name, lines }) => lines > maxFunctionLines && !(file.isTest && isGroup(name)))
        .map(({ name, line, lines }) => `${file.path}:${line}: ${name} has ${lines} lines`),
    ),
  "no folder or file is named utils, helpers or common": (files) =>
    named(files, /(^|\/)(utils?|helpers?|common|misc)(\/|\.ts$)/, "name it after its idea"),
  "inner folders have no index.ts and no types.ts": (files) =>
    named(
      files,
      /^src\/.+\/(index|types)\.ts$/,
      "import the file that has the thing; types live where they are made",
    ),
};

const files = sourceFiles("src");

describe("the sources", () => {
  test.each(Object.entries(rules))("%s", (_, rule) => {
    expect(rule(files)).toEqual([]);
  });

  test("lie in folders that the layers name", () => {
    const layers = new Set(
      files.map(({ path }) => layerOf(path)).filter((layer) => !layer.endsWith(".test.ts")),
    );
    expect([...layers].filter((layer) => !(layer in allowed))).toEqual([]);
  });
});

describe("the rules", () => {
  const head = "/** @file A file. */\n";
  const broken: readonly (readonly [rule: string, ...sources: (readonly [path: string, text: string])[]])[] =
    [
      ["folders import only what the layers allow", ["src/graph/a.ts", 'import { b } from "../nn/b.ts";']],
      [
        "folders import only what the layers allow",
        ["src/pipeline/a.ts", 'import { b } from "../graph/b.ts";'],
      ],
      ["folders import only what the layers allow", ["src/models/a.ts", 'import { b } from "../cli/b.ts";']],
      [
        "no file imports itself through others",
        ["src/nn/a.ts", 'import { b } from "./b.ts";'],
        ["src/nn/b.ts", 'import { c } from "./c.ts";'],
        ["src/nn/c.ts", 'export { a } from "./a.ts";'],
      ],
      [
        "engine, codec, process and socket libraries stay in their folders",
        ["src/cli/a.ts", 'await import("sharp");'],
      ],
      [
        "engine, codec, process and socket libraries stay in their folders",
        ["src/cli/a.ts", 'import "node:net";'],
      ],
      [
        "graph, autodiff, nn, models and diffusion do without Node",
        ["src/nn/a.ts", 'import { join } from "node:path";'],
      ],
      ["relative imports end in .ts", ["src/nn/a.ts", 'import { b } from "./b.js";']],
      ["nothing is exported as default", ["src/nn/a.ts", "export default 1;"]],
      ["nothing is exported as default", ["src/nn/a.ts", "export default function f() {}"]],
      ["any is not used", ["src/nn/a.ts", "const a = b as any;"]],
      [
        "messages of errors begin small and end without a full stop",
        ["src/nn/a.ts", 'throw new ConfigError("Cannot read it");'],
      ],
      [
        "messages of errors begin small and end without a full stop",
        ["src/nn/a.ts", "throw new Error(`it is wrong; ` + `give another.`, { cause });"],
      ],
      ["files have at most 400 lines", ["src/nn/a.ts", "\n".repeat(400)]],
      ["functions have at most 60 lines", ["src/nn/a.ts", `const f = () => {${"\n1;".repeat(60)}};`]],
      ["no folder or file is named utils, helpers or common", ["src/nn/utils.ts", ""]],
      ["no folder or file is named utils, helpers or common", ["src/helpers/a.ts", ""]],
      ["inner folders have no index.ts and no types.ts", ["src/nn/index.ts", ""]],
    ];

  test.each(broken)("notice when it is not so that %s", (rule, ...sources) => {
    const parsed = sources.map(([path, text]) => parseSource(path, `${head}${text}\nend();`));
    const found = Object.entries(rules).filter(([, check]) => check(parsed).length > 0);
    expect(found.map(([name]) => name)).toEqual([rule]);
  });

  test("notice a file that does not say what it is", () => {
    expect(
      rules["every file says first what it is"]([parseSource("src/nn/a.ts", "export {};\n")]),
    ).toHaveLength(1);
  });

  test("let types through where only types are allowed, and leave them out of cycles", () => {
    const types = parseSource("src/pipeline/a.ts", `${head}import type { T } from "../graph/tensor.ts";`);
    const one = parseSource("src/nn/a.ts", `${head}import { type B, type C } from "./b.ts";`);
    const other = parseSource("src/nn/b.ts", `${head}import { a } from "./a.ts";`);
    for (const rule of Object.values(rules)) expect(rule([types, one, other])).toEqual([]);
  });
});

function eachImport(
  files: readonly SourceFile[],
  judge: (file: SourceFile, from: string, typeOnly: boolean) => string | undefined,
): string[] {
  return files
    .filter(({ isTest }) => !isTest)
    .flatMap((file) =>
      file.imports.flatMap(({ from, typeOnly }) => {
        const fault = judge(file, from, typeOnly);
        return fault === undefined ? [] : [`${file.path}: ${fault}`];
      }),
    );
}

function mayImport(layer: string, target: string, typeOnly: boolean): boolean {
  const goal = layerOf(target);
  if (!target.startsWith("src/")) return false;
  if (goal === layer || goal === "errors.ts") return true;
  const edges = allowed[layer] ?? [];
  return edges.some(
    (edge) => edge === goal || `src/${edge}` === target || (typeOnly && edge === `types ${goal}`),
  );
}

/** Depth-first search over value imports; each cycle is told once, by the file where it closes. */
function cycles(files: readonly SourceFile[]): string[] {
  const values = new Map(
    files.map(({ path, imports }) => [
      path,
      imports
        .filter(({ from, typeOnly }) => from.startsWith(".") && !typeOnly)
        .map(({ from }) => resolveImport(path, from)),
    ]),
  );
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) found.push(`${path}: imports itself through ${[...trail.slice(at + 1), path].join(" -> ")}`);
    if (at >= 0 || done.has(path)) return;
    for (const next of values.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of values.keys()) visit(path, []);
  return found;
}

function eachNode(files: readonly SourceFile[], matches: (node: ts.Node) => boolean, what: string): string[] {
  const found: string[] = [];
  for (const { path, syntax } of files)
    walk(syntax, (node) => {
      if (!matches(node)) return;
      const { line } = syntax.getLineAndCharacterOfPosition(node.getStart(syntax));
      found.push(`${path}:${line + 1}: ${what}`);
    });
  return found;
}

function isError(node: ts.Node): node is ts.NewExpression {
  return ts.isNewExpression(node) && /(Error|Failure)$/.test(node.expression.getText());
}

/** Whether the source of a message goes on from "error: "; a name such as STG or RIFLEx may come first. */
function isMessage(source: string): boolean {
  return !/^[`"'][A-Z][a-z]+[ "`',:]/.test(source) && !/[^.]\.[`"']$/.test(source);
}

/** A `describe` is a list of tests, not a function that anyone calls. */
function isGroup(name: string): boolean {
  return name.startsWith("a callback of describe");
}

function isDefaultExport(node: ts.Node): boolean {
  return (
    ts.isExportAssignment(node) ||
    (node.kind === ts.SyntaxKind.DefaultKeyword && !ts.isDefaultClause(node.parent))
  );
}

function named(files: readonly SourceFile[], pattern: RegExp, advice: string): string[] {
  return files.filter(({ path }) => pattern.test(path)).map(({ path }) => `${path}: ${advice}`);
}

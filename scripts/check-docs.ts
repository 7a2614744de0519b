/** @file Checks that the documentation is true: public names are described, files exist, commands can be called. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { type Command, commonOptions } from "../src/cli/command.ts";
import { parseOptions } from "../src/cli/options.ts";
import { docPages } from "./doc-pages.ts";
import { shellWords } from "./shell-words.ts";
import { root } from "./source-files.ts";

/** Everything wrong with the documentation, one line each. */
export async function checkDocs(): Promise<string[]> {
  // Loaded here, so that the checks of texts can be used without the whole program.
  const { commands } = await import("../src/cli/main.ts");
  const manifest: unknown = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const { scripts } = manifest as { scripts: Record<string, string> };
  const texts = documents().map((file) => ({ file, text: readFileSync(join(root, file), "utf8") }));
  const exports = exportsOf("src/index.ts");
  return [
    ...exports
      .filter(({ about }) => about === "")
      .map(({ name }) => `src/index.ts: ${name} is public and has no doc comment`),
    ...(existsSync(join(root, "README.md")) ? [] : ["README.md: is missing"]),
    ...texts.flatMap(({ file, text }) => brokenReferences(file, text)),
    ...texts.flatMap(({ file, text }) => brokenCommands(file, text, commands, Object.keys(scripts))),
    ...texts.flatMap(({ file, text }) =>
      brokenImports(
        file,
        text,
        exports.map(({ name }) => name),
      ),
    ),
  ];
}

/** README.md and every page in docs/. */
function documents(): string[] {
  return ["README.md", ...docPages()].filter((file) => existsSync(join(root, file)));
}

/** What a module exports, with the doc comment of each name. */
export function exportsOf(file: string): { readonly name: string; readonly about: string }[] {
  const path = join(root, file);
  const program = ts.createProgram([path], { ...compilerOptions(), noEmit: true });
  const checker = program.getTypeChecker();
  const module = checker.getSymbolAtLocation(program.getSourceFile(path)!);
  if (module === undefined) return [];
  return checker.getExportsOfModule(module).map((symbol) => {
    const origin = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    const about = ts.displayPartsToString(origin.getDocumentationComment(checker)).trim();
    return { name: symbol.name, about };
  });
}

/** Names that code in a text imports from this package, which does not export them. */
export function brokenImports(file: string, text: string, exports: readonly string[]): string[] {
  const code = codeIn(text).join("\n");
  const lists = [...code.matchAll(/import (?:type )?\{([^}]*)\} from "cogvideox"/g)].map(
    ([, names]) => names,
  );
  const names = lists
    .flatMap((list) => list.split(","))
    .map((name) => name.replace(/^\s*(type )?/, "").trim());
  return names
    .filter((name) => name !== "" && !exports.includes(name))
    .map((name) => `${file}: cogvideox exports no ${name}`);
}

function compilerOptions(): ts.CompilerOptions {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), (file) => readFileSync(file, "utf8"));
  return ts.convertCompilerOptionsFromJson(config.compilerOptions, root).options;
}

/** Links to files and sections that are not there, and files named in code that do not exist. */
export function brokenReferences(file: string, text: string): string[] {
  const prose = withoutFences(text);
  const links = [...prose.matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)].map(([, target]) => target);
  const relative = links.filter((target) => !/^[a-z]+:/i.test(target));
  const named = [...prose.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code).filter(isPath);
  return [
    ...relative
      .filter((target) => !linkWorks(file, text, target))
      .map((target) => `${file}: the link ${target} is broken`),
    ...named.filter((path) => !existsSync(join(root, path))).map((path) => `${file}: ${path} does not exist`),
  ];
}

/** Whether a piece of code reads as a path in this project; patterns with * or {} do not. */
function isPath(code: string): boolean {
  return (
    /^(\.ci|bench|bin|docs|examples|scripts|src|test)\/[\w./-]*$/.test(code) ||
    (/^[\w-]+\.(md|json|ts)$/.test(code) && isOurs(code))
  );
}

/** Names such as config.json belong to checkpoints, not to this project. */
function isOurs(name: string): boolean {
  return (
    name.endsWith(".md") || ["package.json", "tsconfig.json", "biome.json", "vitest.config.ts"].includes(name)
  );
}

function linkWorks(file: string, text: string, target: string): boolean {
  const [path, anchor] = target.split("#");
  const goal = path === "" ? file : join(dirname(file), path);
  if (!existsSync(join(root, goal))) return path === "" && anchors(text).has(anchor);
  if (anchor === undefined || !goal.endsWith(".md")) return true;
  return anchors(path === "" ? text : readFileSync(join(root, goal), "utf8")).has(anchor);
}

/** The names that headings get on the web: lower case, punctuation dropped, dashes for spaces. */
function anchors(text: string): Set<string> {
  const headings = [...withoutFences(text).matchAll(/^#+\s+(.+?)\s*$/gm)].map(([, heading]) => heading);
  return new Set(
    headings.map((h) =>
      h
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

const fence = /^ *```([^\n]*)\n([\s\S]*?)^ *```/gm;

/** The code blocks of a text, all of them or those of one language. */
export function codeIn(text: string, language?: string): string[] {
  return [...text.matchAll(fence)]
    .filter(([, name]) => language === undefined || name.trim() === language)
    .map(([, , code]) => code);
}

function withoutFences(text: string): string {
  return text.replace(fence, "");
}

/** Lines in code fences that call a command, an option or a script that does not exist. */
export function brokenCommands(
  file: string,
  text: string,
  commands: readonly Command[],
  scripts: readonly string[],
): string[] {
  const lines = codeIn(text).flatMap((code) => code.replace(/\\\n\s*/g, " ").split("\n"));
  return lines.flatMap((line) => {
    const fault = faultOf(line, commands, scripts);
    return fault === undefined ? [] : [`${file}: ${fault} in "${line.trim()}"`];
  });
}

function faultOf(line: string, commands: readonly Command[], scripts: readonly string[]): string | undefined {
  const [program, ...args] = shellWords(line.trim().replace(/^\$ /, ""));
  if (program === "npm") return npmFault(args, scripts);
  if (program === "npx" && args[0] === "cogvideox") return commandFault(args.slice(1), commands);
  if (program === "cogvideox") return commandFault(args, commands);
  const script = program === "node" ? args[0] : program === "npx" && args[0] === "tsx" ? args[1] : undefined;
  return script?.endsWith(".ts") && !existsSync(join(root, script)) ? `${script} does not exist` : undefined;
}

function npmFault([verb, name]: readonly string[], scripts: readonly string[]): string | undefined {
  if (verb === "run" || verb === "run-script")
    return scripts.includes(name) ? undefined : `no script ${name}`;
  if (verb === "test" || verb === "start") return scripts.includes(verb) ? undefined : `no script ${verb}`;
  return ["ci", "install", "i", "link", "pack"].includes(verb) ? undefined : `npm has no ${verb} here`;
}

function commandFault([name, ...args]: readonly string[], commands: readonly Command[]): string | undefined {
  if (name === undefined || ["--help", "-h", "--version", "-V", "help"].includes(name)) return undefined;
  const command = commands.find((known) => known.name === name);
  if (command === undefined) return `no command ${name}`;
  if (args.includes("--help")) return undefined;
  try {
    parseOptions(args, { ...command.options, ...commonOptions }, command.positionals);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const faults = await checkDocs();
  for (const fault of faults) console.error(`error: ${fault}`);
  console.log(faults.length === 0 ? "the documentation is true" : `${faults.length} faults`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}

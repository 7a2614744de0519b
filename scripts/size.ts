/** @file Prints lines of source per folder and the longest functions; fails when a folder has outgrown its budget. */
import { functionsOf, layerOf, sourceFiles } from "./source-files.ts";

/** Lines without tests that each folder of src/ may have. Raise one when a feature needs it, not when a file got long. */
const budgets: Readonly<Record<string, number>> = {
  graph: 2400,
  autodiff: 1300,
  nn: 500,
  models: 4200,
  weights: 3800,
  diffusion: 2000,
  runtime: 1700,
  media: 2400,
  pipeline: 6500,
  enhance: 800,
  data: 3000,
  train: 11_600,
  hub: 1900,
  cli: 5000,
  "errors.ts": 50,
  "index.ts": 120,
};

const files = sourceFiles("src");
const folders = [...new Set(files.map(({ path }) => layerOf(path)))].sort();
const total = (list: typeof files) => list.reduce((sum, { lines }) => sum + lines, 0);

console.log("folder        lines  budget  tests");
const over: string[] = [];
for (const folder of folders) {
  const list = files.filter(({ path }) => layerOf(path) === folder);
  const lines = total(list.filter(({ isTest }) => !isTest));
  const tests = total(list.filter(({ isTest }) => isTest));
  const budget = budgets[folder] ?? 0;
  if (lines > budget)
    over.push(`src/${folder} has ${lines} lines, its budget is ${budget} (scripts/size.ts)`);
  console.log(row(folder, lines, budget, tests));
}
const source = files.filter(({ isTest }) => !isTest);
const testLines = total(files) - total(source) + total(sourceFiles("test"));
console.log(row("all", total(source), sum(Object.values(budgets)), testLines));

console.log("\nlongest functions");
const functions = source.flatMap((file) => functionsOf(file).map((span) => ({ ...span, path: file.path })));
for (const { path, line, name, lines } of functions.sort((a, b) => b.lines - a.lines).slice(0, 5))
  console.log(`${String(lines).padStart(5)}  ${name}  ${path}:${line}`);

for (const message of over) console.error(`error: ${message}`);
process.exitCode = over.length > 0 ? 1 : 0;

function row(name: string, lines: number, budget: number, tests: number): string {
  const [a, b, c] = [lines, budget, tests].map(String);
  return `${name.padEnd(12)}  ${a.padStart(5)}  ${b.padStart(6)}  ${c.padStart(5)}`;
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

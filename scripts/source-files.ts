/** @file The project's TypeScript files, parsed: their imports and the lengths of their functions. */
import { readdirSync, readFileSync } from "node:fs";
import { join, posix, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** Absolute path of the project's folder. */
export const root = fileURLToPath(new URL("..", import.meta.url));

export type Import = {
  readonly from: string;
  /** True where nothing but types is imported. */
  readonly typeOnly: boolean;
};

export type FunctionSpan = { readonly name: string; readonly line: number; readonly lines: number };

export type SourceFile = {
  /** Relative to the project, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: number;
  readonly isTest: boolean;
  readonly syntax: ts.SourceFile;
  readonly imports: readonly Import[];
};

/** Every .ts file under a folder of the project, in the order of names. */
export function sourceFiles(folder: string): SourceFile[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((file) => parseSource(relative(root, file).split(sep).join("/"), readFileSync(file, "utf8")));
}

/** Parses one file; `path` need not exist. */
export function parseSource(path: string, text: string): SourceFile {
  const syntax = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const lines = text.trimEnd().split("\n").length;
  return { path, text, lines, isTest: path.endsWith(".test.ts"), syntax, imports: importsOf(syntax) };
}

/** The folder under src/ that a path belongs to; the file's own name for files right under src/. */
export function layerOf(path: string): string {
  return path.split("/")[1];
}

/** The project path that a relative import means. */
export function resolveImport(importer: string, from: string): string {
  return posix.normalize(posix.join(posix.dirname(importer), from));
}

/** Calls `visit` with every node of a file. */
export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  node.forEachChild((child) => walk(child, visit));
}

/** Every function, method and arrow function with its name and its lines, in order. */
export function functionsOf({ syntax }: SourceFile): FunctionSpan[] {
  const spans: FunctionSpan[] = [];
  walk(syntax, (node) => {
    if (!ts.isFunctionLike(node) || !("body" in node) || node.body === undefined) return;
    const line = (at: number) => syntax.getLineAndCharacterOfPosition(at).line + 1;
    const first = line(node.getStart(syntax));
    spans.push({ name: nameOf(node), line: first, lines: line(node.end) - first + 1 });
  });
  return spans;
}

function nameOf(node: ts.SignatureDeclaration): string {
  if (ts.isConstructorDeclaration(node)) return "constructor";
  if (node.name) return node.name.getText();
  const { parent } = node;
  if (ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent)) return parent.name.getText();
  if (ts.isCallExpression(parent)) return `a callback of ${parent.expression.getText().slice(0, 30)}`;
  return "a function without a name";
}

function importsOf(syntax: ts.SourceFile): Import[] {
  const imports: Import[] = [];
  walk(syntax, (node) => {
    const found = importOf(node);
    if (found) imports.push(found);
  });
  return imports;
}

function importOf(node: ts.Node): Import | undefined {
  if (ts.isImportDeclaration(node))
    return { from: textOf(node.moduleSpecifier), typeOnly: isTypeOnly(node.importClause) };
  if (ts.isExportDeclaration(node) && node.moduleSpecifier)
    return { from: textOf(node.moduleSpecifier), typeOnly: node.isTypeOnly };
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
    return { from: textOf(node.arguments[0]), typeOnly: false };
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
    return { from: textOf(node.argument.literal), typeOnly: true };
  return undefined;
}

function isTypeOnly(clause: ts.ImportClause | undefined): boolean {
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const { name, namedBindings } = clause;
  if (name || !namedBindings || !ts.isNamedImports(namedBindings)) return false;
  return namedBindings.elements.every((element) => element.isTypeOnly);
}

function textOf(node: ts.Node): string {
  return ts.isStringLiteralLike(node) ? node.text : node.getText();
}

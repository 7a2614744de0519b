/** @file What is published: the packed package, unpacked in a project that has nothing of this checkout but its dependencies. */
import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { builtinModules } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { codeIn } from "../../scripts/check-docs.ts";
import { docPages } from "../../scripts/doc-pages.ts";
import { hasFfprobe, probe } from "../helpers/ffprobe.ts";
import { toyRecipe } from "../helpers/toy-recipe.ts";

type Manifest = {
  readonly version: string;
  readonly bin: { readonly cogvideox: string };
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
};

const run = promisify(execFile);
const checkout = process.cwd();
const project = mkdtempSync(join(tmpdir(), "cogvideox-project-"));
const installed = join(project, "node_modules/cogvideox");
const tsc = join(checkout, "node_modules/typescript/bin/tsc");
const clip = [{ codec_name: "h264", width: 64, height: 64, nb_read_frames: "17" }];

/** Compiling and training take seconds on a machine that does nothing else, and minutes on one that does. */
const PATIENCE_MS = 600_000;

/** Packs the checkout and installs it without the network: its dependencies, and nothing else, are links to the checkout's. */
beforeAll(async () => {
  mkdirSync(installed, { recursive: true });
  await run("npm", ["run", "package", "--", "--pack-destination", project], { cwd: checkout });
  const [tarball] = readdirSync(project).filter((name) => name.endsWith(".tgz"));
  await run("tar", ["-xzf", join(project, tarball), "-C", installed, "--strip-components=1"]);
  const { dependencies, optionalDependencies } = manifest();
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies }))
    symlinkSync(join(checkout, "node_modules", name), join(project, "node_modules", name));
  writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }));
}, PATIENCE_MS);

afterAll(() => rmSync(project, { recursive: true, force: true }));

describe("the tarball", () => {
  test("holds what is run and what describes it, and nothing else", () => {
    const files = filesIn(installed);
    const places = new Set(files.map((file) => /^models\/[^/]+|^[^/]+/.exec(file)![0]));
    const whole = [
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "bin",
      "dist",
      "models/nano",
      "models/nano-control",
      "models/nano-i2v",
      "models/nano-inpaint",
      "models/nano-night",
    ];
    expect([...places].sort()).toEqual([...whole, "package.json"]);
    const built = files.filter((file) => file.startsWith("dist/"));
    expect(built.filter((file) => !/^dist\/[\w/-]+(\.js|\.d\.ts)$/.test(file))).toEqual([]);
    expect(built).toContain("dist/runtime/worker.js");
  });

  test("has every file that a file in it imports, and depends on every package", () => {
    const { dependencies, optionalDependencies } = manifest();
    const known = new Set([...Object.keys({ ...dependencies, ...optionalDependencies }), "cogvideox"]);
    const sources = filesIn(installed).filter((file) => /\.(js|ts)$/.test(file));
    const missing = sources.flatMap((file) =>
      ts
        .preProcessFile(readFileSync(join(installed, file), "utf8"))
        .importedFiles.map(({ fileName }) => fileName)
        .filter((from) => !(from.startsWith(".") ? isThere(file, from) : isKnown(from, known)))
        .map((from) => `${file} imports ${from}`),
    );
    expect(missing).toEqual([]);
  });

  /** Declarations keep the names of the sources, which the compiler takes for those of declarations. */
  function isThere(file: string, from: string): boolean {
    const target = join(installed, dirname(file), from);
    return existsSync(file.endsWith(".d.ts") ? target.replace(/\.ts$/, ".d.ts") : target);
  }

  function isKnown(from: string, known: ReadonlySet<string>): boolean {
    const name = from.split("/")[0];
    return name.startsWith("node:") ? builtinModules.includes(name.slice(5)) : known.has(name);
  }
});

describe("types", { timeout: PATIENCE_MS }, () => {
  const strict = { strict: true, target: "es2022", skipLibCheck: false, exactOptionalPropertyTypes: true };

  test("need no other package, whichever way they are resolved", async () => {
    const folder = folderOf("types");
    const program = 'export * from "cogvideox";\n';
    writeFileSync(join(folder, "names.ts"), program);
    const compilerOptions = { ...strict, module: "esnext", moduleResolution: "bundler", types: [] };
    expect(await compile(folder, { ...compilerOptions, noEmit: true })).toEqual("");
  });

  test("fit every program of the documentation, and the first one of the library's page makes a video", async ({
    skip,
  }) => {
    const folder = folderOf("programs");
    for (const page of ["README.md", ...docPages()])
      for (const [i, code] of codeIn(readFileSync(join(checkout, page), "utf8"), "ts").entries())
        writeFileSync(
          join(folder, `${page.replace(/^docs\/|\.md$/g, "").replaceAll("/", "-")}-${i}.ts`),
          code.replace("steps: 25", "steps: 2"),
        );
    const typeRoots = [join(checkout, "node_modules/@types")];
    const compilerOptions = { ...strict, module: "nodenext", types: ["node"], typeRoots };
    expect(await compile(folder, compilerOptions)).toEqual("");
    expect(await plainNode(["library-0.js"], folder)).toEqual({ stdout: "", stderr: "" });
    if (!hasFfprobe()) skip("ffprobe is not installed");
    expect(probe(join(folder, "out.mp4"))).toMatchObject(clip);
  });

  /** What the compiler finds wrong. */
  async function compile(folder: string, compilerOptions: object): Promise<string> {
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
    return run(process.execPath, [tsc, "-p", folder]).then(
      ({ stdout }) => stdout,
      ({ stdout }) => stdout,
    );
  }
});

describe("the installed command", { timeout: PATIENCE_MS }, () => {
  test("makes a clip and reads its recipe", async () => {
    const cwd = folderOf("clip");
    const made = await command(["generate", "a blue star spins", "--steps", "2", "-o", "clip.mp4"], cwd);
    expect(made.stdout).toBe(`${join(cwd, "clip.mp4")}\n`);
    const { stdout } = await command(["inspect", "clip.mp4", "--json"], cwd);
    const recipe = { software: "cogvideox", version: manifest().version, prompt: "a blue star spins" };
    expect(JSON.parse(stdout)).toMatchObject({ recipe });
  });

  test("trains a recipe to a checkpoint", async () => {
    const cwd = folderOf("training");
    writeFileSync(join(cwd, "toy.yaml"), toyRecipe({ vaeSteps: 1, transformerSteps: 1 }));
    await command(["train", "toy.yaml", "--run", "run"], cwd);
    const { stdout } = await command(["inspect", "run/model"], cwd);
    expect(stdout).toContain("everything fits");
  });

  function command(args: readonly string[], cwd: string) {
    return plainNode([join(installed, manifest().bin.cogvideox), ...args], cwd);
  }
});

/** Node without loaders and paths that the test may have been started with. Rejects where it ends with anything but 0. */
function plainNode(args: readonly string[], cwd: string) {
  return run(process.execPath, args, { cwd, env: { ...process.env, NODE_OPTIONS: "", NODE_PATH: "" } });
}

function manifest(): Manifest {
  return JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
}

function folderOf(name: string): string {
  const folder = join(project, name);
  mkdirSync(folder);
  return folder;
}

/** Paths of all files in a folder, relative to it. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"));
}

/** @file Options of the command line: what is read, what is refused and what is said. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../errors.ts";
import { describeGroups, nearest, type OptionTable, parseOptions } from "./options.ts";

const table = {
  model: { kind: "text", short: "m", value: "DIR", about: "checkpoint folder" },
  negative: { kind: "text", about: "what to stay away from" },
  scheduler: { kind: "text", choices: ["ddim", "dpm"], about: "sampler" },
  steps: { kind: "integer", about: "denoising steps" },
  guidance: { kind: "number", about: "guidance scale" },
  "dynamic-cfg": { kind: "flag", about: "let the weight follow the timestep" },
} as const satisfies OptionTable;

const parse = (...args: string[]) => parseOptions(args, table, ["PROMPT", "[SECOND]"]);
const values = (...args: string[]) => parse("prompt", ...args).values;

describe("options", () => {
  test("take the type of their kind", () => {
    expect(values("--model", "a b", "--steps", "20", "--guidance", "6.5", "--dynamic-cfg")).toEqual({
      model: "a b",
      negative: undefined,
      scheduler: undefined,
      steps: 20,
      guidance: 6.5,
      "dynamic-cfg": true,
    });
  });

  test("may be written with =, by their letter and before the prompt", () => {
    expect(parse("-m", "folder", "--steps=7", "a prompt", "--negative=").values).toMatchObject({
      model: "folder",
      steps: 7,
      negative: "",
    });
    expect(parse("-m", "folder", "a prompt").positionals).toEqual(["a prompt"]);
  });

  test("take negative numbers as values", () => {
    expect(values("--guidance", "-1.5")).toMatchObject({ guidance: -1.5 });
    expect(values("--guidance", "-.5", "--steps", "-3")).toMatchObject({ guidance: -0.5, steps: -3 });
    expect(values("--negative", "-1 apples")).toMatchObject({ negative: "-1 apples" });
  });

  test("given twice count the last time", () => {
    expect(values("--steps", "1", "--steps", "2")).toMatchObject({ steps: 2 });
  });

  test("take numbers in any notation JavaScript has", () => {
    expect(values("--steps", "1e2", "--guidance", "1e-3")).toMatchObject({ steps: 100, guidance: 0.001 });
  });

  test("end at --", () => {
    expect(parse("--", "--steps").positionals).toEqual(["--steps"]);
  });
});

describe("a call is refused", () => {
  test.each([
    [["--stps", "3"], "unknown option --stps; did you mean --steps?"],
    [["--guidence=3"], "unknown option --guidence; did you mean --guidance?"],
    [["--bananas"], "unknown option --bananas; see --help for the options"],
    [["-x"], "unknown option -x; see --help for the options"],
    [["--steps"], "--steps needs a value; write --steps=N for one that starts with a dash"],
    [
      ["--model", "--dynamic-cfg"],
      "--model needs a value; write --model=DIR for one that starts with a dash",
    ],
    [["-m"], "--model needs a value; write --model=DIR for one that starts with a dash"],
    [["-m", "--steps", "1"], "--model needs a value"],
    [["--scheduler"], "--scheduler needs a value; write --scheduler=ddim|dpm"],
    [["--dynamic-cfg=yes"], "--dynamic-cfg takes no value"],
    [["--steps", "ten"], '--steps must be a whole number, got "ten"'],
    [["--steps", "2.5"], '--steps must be a whole number, got "2.5"'],
    [["--steps", ""], '--steps must be a whole number, got ""'],
    [["--steps", "1e99"], '--steps must be a whole number, got "1e99"'],
    [["--guidance", "Infinity"], '--guidance must be a number, got "Infinity"'],
    [["--guidance", "6,5"], '--guidance must be a number, got "6,5"'],
    [["--scheduler", "euler"], '--scheduler must be one of ddim, dpm, got "euler"'],
    [["--scheduler", "DDIM"], '--scheduler must be one of ddim, dpm, got "DDIM"'],
  ])("%j", (args, message) => {
    expect(() => values(...args)).toThrow(ConfigError);
    expect(() => values(...args)).toThrow(message);
  });

  test("when an argument is missing", () => {
    expect(() => parse()).toThrow(new ConfigError("PROMPT is missing; see --help"));
  });

  test("when there are too many, with the likely reason", () => {
    expect(() => parse("a", "red", "ball")).toThrow(
      new ConfigError('unexpected argument "ball"; put a prompt of several words in quotes'),
    );
    expect(parse("a", "red").positionals).toEqual(["a", "red"]);
  });
});

test("the help has a line for every option, with its letter, value and choices, in the same columns under all headings", () => {
  const { steps, ...rest } = table;
  expect(describeGroups({ Course: { steps }, Others: rest }).join("\n")).toMatchInlineSnapshot(`
    "
    Course:
          --steps N             denoising steps

    Others:
      -m, --model DIR           checkpoint folder
          --negative TEXT       what to stay away from
          --scheduler ddim|dpm  sampler
          --guidance N          guidance scale
          --dynamic-cfg         let the weight follow the timestep"
  `);
});

describe("the nearest known name", () => {
  test("may be the only one that begins so", () => {
    expect(nearest("gen", ["generate", "plan"])).toBe("generate");
    expect(nearest("tile", ["tile-size", "tile-overlap"])).toBeUndefined();
    expect(nearest("re", ["generate", "resume"])).toBeUndefined();
  });

  test("is at most two edits away", () => {
    expect(nearest("seeds", ["seed", "steps"])).toBe("seed");
    expect(nearest("scheduler", ["scheduler"])).toBe("scheduler");
    expect(nearest("shedulr", ["scheduler"])).toBe("scheduler");
    expect(nearest("banana", ["scheduler"])).toBeUndefined();
    expect(nearest("anything", [])).toBeUndefined();
  });
});

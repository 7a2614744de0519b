/** @file A clip from the hidden states of a prompt is the clip of the prompt, and says so. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { writeSafetensors } from "../../src/weights/write.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { hashFloats } from "../helpers/golden-case.ts";
import { copyCheckpoint, editJson, recorded } from "../helpers/tiny-checkpoint.ts";

const model = ["--model", recorded("t2v-rope")];
const states = ["--prompt-states", "states.safetensors"];

test("states give the bytes of their prompt, with several seeds, and the recipe wants them again", async () => {
  const cwd = temporaryFolder();
  const texts = ["--prompt", "A red circle.", "--negative", "blurry"];
  const encoded = await cogvideox(
    ["forward", "text-encoder", ...model, ...texts, "-o", "states.safetensors"],
    { cwd },
  );
  expect(encoded).toMatchObject({ status: 0 });
  const how = [...model, "--steps", "2", "--seed", "3,4", "-o", "clip.gif"];
  const words = ["A red circle.", "--negative", "blurry", "--save-latents", "words.safetensors"];
  expect(await cogvideox(["generate", ...words, ...how], { cwd })).toMatchObject({ status: 0 });
  const given = [...states, "--save-latents", "states-made.safetensors"];
  expect(await cogvideox(["generate", ...given, ...how], { cwd })).toMatchObject({ status: 0 });
  for (const clip of [1, 2]) {
    const [ours, theirs] = ["states-made", "words"].map((name) =>
      readFileSync(join(cwd, `${name}-${clip}.safetensors`)),
    );
    expect(ours.equals(theirs)).toBe(true);
  }
  const [{ recipe }] = jsonLines(await cogvideox(["inspect", "clip-1.gif", "--json"], { cwd }));
  expect(recipe).toMatchObject({ promptStates: "given", prompt: "", seed: 3 });
  const like = ["generate", "--like", "clip-1.gif", "-o", "again.gif"];
  const alone = await cogvideox(like, { cwd });
  expect(alone.stderr).toMatch(
    /hidden states of a prompt, which are not inside; give --prompt-states or a prompt/,
  );
  expect(await cogvideox([...like, ...states], { cwd })).toMatchObject({ status: 0 });
  expect(readFileSync(join(cwd, "again.gif")).equals(readFileSync(join(cwd, "clip-1.gif")))).toBe(true);
});

test("without guidance the prompt's own states do, as forward writes them without --negative", async () => {
  const cwd = temporaryFolder();
  const encode = ["forward", "text-encoder", ...model, "--prompt", "A red circle."];
  expect(await cogvideox([...encode, "-o", "states.safetensors"], { cwd })).toMatchObject({ status: 0 });
  const how = [...model, "--guidance", "1", "--steps", "1", "--seed", "3", "-o", "clip.gif"];
  for (const [from, name] of [
    [states, "states-made"],
    [["A red circle."], "words"],
  ] as const) {
    const call = ["generate", ...from, ...how, "--save-latents", `${name}.safetensors`];
    expect(await cogvideox(call, { cwd })).toMatchObject({ status: 0 });
  }
  const [ours, theirs] = ["states-made", "words"].map((name) =>
    readFileSync(join(cwd, `${name}.safetensors`)),
  );
  expect(ours.equals(theirs)).toBe(true);
  const guided = await cogvideox(["generate", ...states, ...model, "-o", "guided.gif"], { cwd });
  expect(guided.stderr).toMatch(/holds no tensor named negative_prompt_embeds, but prompt_embeds/);
});

test("a saved run goes on from its states, and from no others", async () => {
  const cwd = temporaryFolder();
  const write = (key: number) =>
    writeSafetensors(join(cwd, "states.safetensors"), { prompt_embeds: hashFloats([24, 32], key) });
  await write(1);
  const how = ["--guidance", "1", "--steps", "1", "--seed", "3", "--checkpoint-dir", "run", "-o", "clip.gif"];
  expect(await cogvideox(["generate", ...states, ...model, ...how], { cwd })).toMatchObject({ status: 0 });
  const made = readFileSync(join(cwd, "clip.gif"));
  // As if it had been killed before its first step was saved.
  editJson(join(cwd, "run/job.json"), { done: 0 });
  rmSync(join(cwd, "clip.gif"));
  expect(await cogvideox(["resume", "run"], { cwd })).toMatchObject({ status: 0 });
  expect(readFileSync(join(cwd, "clip.gif")).equals(made)).toBe(true);
  editJson(join(cwd, "run/job.json"), { done: 0 });
  await write(2);
  const changed = await cogvideox(["resume", "run"], { cwd });
  expect(changed.stderr).toMatch(/states\.safetensors has changed since the run was begun/);
});

test("a plan with states has no text encoder", async () => {
  const cwd = temporaryFolder();
  const stagesOf = async (...args: string[]) => {
    const [plan] = jsonLines(await cogvideox(["plan", ...args, ...model, "--json"], { cwd }));
    return (plan.stages as { stage: string }[]).map(({ stage }) => stage);
  };
  expect(await stagesOf("A red circle.")).toEqual(["text", "denoise", "decode"]);
  expect(await stagesOf(...states)).toEqual(["denoise", "decode"]);
});

test.each([
  ["the checkpoint's own guidance is 1", 1, []],
  ["guidance leads away from zeros", 6, ["--unconditional", "zeros"]],
])("the negative states may be left out where %s", async (_, own, more) => {
  const cwd = temporaryFolder();
  const copy = copyCheckpoint("t2v-rope");
  editJson(join(copy, "transformer/config.json"), { _guidance_scale: own });
  await writeSafetensors(join(cwd, "states.safetensors"), { prompt_embeds: hashFloats([24, 32], 1) });
  const generate = (...args: string[]) =>
    cogvideox(["generate", ...states, "--model", copy, "--steps", "1", "-o", "clip.gif", ...args], { cwd });
  expect(await generate(...more)).toMatchObject({ status: 0 });
  const away = await generate("--guidance", "2", "--unconditional", "prompt");
  expect(away.stderr).toMatch(/holds no tensor named negative_prompt_embeds/);
});

test("states that do not fit, and what does not go with them, are refused in a sentence", async () => {
  const cwd = temporaryFolder();
  const write = (name: string, tensors: Parameters<typeof writeSafetensors>[1]) =>
    writeSafetensors(join(cwd, `${name}.safetensors`), tensors);
  await write("states", {
    prompt_embeds: hashFloats([5, 12], 1),
    negative_prompt_embeds: hashFloats([5, 12], 2),
  });
  await write("half", { prompt_embeds: hashFloats([24, 32], 1) });
  await write("flat", { prompt_embeds: hashFloats([24], 1) });
  const cases: [string[], RegExp][] = [
    [
      ["A cat.", ...states],
      /--prompt-states states\.safetensors takes the place of the prompt; give one of them/,
    ],
    [
      [...states, "--negative", "x"],
      /--prompt-states states\.safetensors has no words, which --negative needs/,
    ],
    [[...states, "--invert", "clip.mp4"], /has no words, which --invert needs/],
    [
      [...states, "--steps", "0"],
      /--steps 0 only decodes --latents; leave --prompt-states states\.safetensors out/,
    ],
    [states, /hidden states of a prompt must be \[24, 32\] for this checkpoint, got \[5, 12\]/],
    [
      ["--prompt-states", "half.safetensors"],
      /holds no tensor named negative_prompt_embeds, but prompt_embeds/,
    ],
    [
      ["--prompt-states", "flat.safetensors"],
      /prompt_embeds in flat\.safetensors must be floats \[T, C\] .* got f32 \[24\]/,
    ],
    [["--prompt-states", "none.safetensors"], /none\.safetensors/],
  ];
  for (const [args, says] of cases) {
    const ended = await cogvideox(["generate", ...args, ...model, "-o", "clip.gif"], { cwd });
    expect(ended.stderr).toMatch(says);
    expect(ended.stderr).not.toMatch(/\n {4}at /);
    expect(ended.status).not.toBe(0);
  }
  const half = ["--prompt-states", "half.safetensors", "--steps", "1", "-o", "clip.gif"];
  // Without guidance, and where it leads away from zeros, nobody looks at negative states.
  for (const how of [
    ["--guidance", "1"],
    ["--unconditional", "zeros"],
  ])
    expect(await cogvideox(["generate", ...half, ...how, ...model], { cwd })).toMatchObject({ status: 0 });
});

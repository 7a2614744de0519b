/** @file Tests of runs on disk: what is kept, refused and restored, and that being killed costs no saved step. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigError, WeightsError } from "../../errors.ts";
import { checkpointSteps, type Json, type TensorSource } from "./checkpoints.ts";
import { openRun, type Run, type RunOptions, readRecord } from "./run-folder.ts";

let parent: string;
let folder: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "cogvideox-run-"));
  folder = join(parent, "run");
});
afterEach(() => rm(parent, { recursive: true }));

const options: RunOptions = { config: { name: "train.json", text: '{"steps": 8}' }, seed: 7 };
const again: RunOptions = { ...options, resume: true };

function tensorsOf(step: number, size = 6) {
  return new Map(
    ["weight/a.b", "mean/a.b", "square/a.b"].map((name, i) => [
      name,
      { shape: [2, size / 2], data: new Float32Array(size).map((_, j) => step + i / 4 + j) },
    ]),
  );
}

const save = (run: Run, step: number, state: Json = { epoch: step }) =>
  run.save({ step, task: "test", tensors: tensorsOf(step), state });

async function inRun<T>(runOptions: RunOptions, use: (run: Run) => Promise<T>): Promise<T> {
  const run = await openRun(folder, runOptions);
  try {
    return await use(run);
  } finally {
    await run.close();
  }
}

const checkpoint = (step: number, name = "") =>
  join(folder, "checkpoints", `step-${String(step).padStart(8, "0")}`, name);

describe("a run's folder", () => {
  test("holds the configuration as given, the record, and places for checkpoints and samples", async () => {
    await inRun(options, async () => {});
    expect(await readFile(join(folder, "train.json"), "utf8")).toBe('{"steps": 8}');
    expect((await readdir(folder)).sort()).toEqual(["checkpoints", "run.json", "samples", "train.json"]);
    expect(await readRecord(folder)).toMatchObject({
      version: "0.1.0",
      node: process.version,
      seed: 7,
      commandLine: process.argv,
      resumes: [],
    });
  });

  test("gives back what was saved, bit for bit", async () => {
    const state = { rate: 1e-3, nested: [{ text: "ü" }, null, true] };
    await inRun(options, (run) => save(run, 500, state));
    const restored = await inRun(again, (run) => run.latest());
    expect(restored).toEqual({ step: 500, task: "test", state, tensors: tensorsOf(500) });
  });

  test("has nothing to restore before the first save", async () => {
    expect(await inRun(options, (run) => run.latest())).toBeUndefined();
  });

  test("takes tensors one at a time from a source", async () => {
    const read: string[] = [];
    const source: TensorSource = {
      shapes: new Map([...tensorsOf(3)].map(([name, { shape }]) => [name, shape])),
      read: async (name) => {
        read.push(name);
        return tensorsOf(3).get(name)!.data;
      },
    };
    const restored = await inRun(options, async (run) => {
      await run.save({ step: 3, task: "test", tensors: source, state: null });
      return run.latest();
    });
    expect(read).toEqual([...source.shapes.keys()]);
    expect(restored?.tensors).toEqual(tensorsOf(3));
  });

  test("keeps the last few checkpoints and every multiple asked for", async () => {
    const steps = await inRun({ ...options, keep: 2, keepEvery: 4 }, async (run) => {
      for (let step = 1; step <= 7; step++) await save(run, step);
      return run.steps();
    });
    expect(steps).toEqual([4, 6, 7]);
  });

  test("drops checkpoints of later steps when a run that was taken back saves again", async () => {
    const steps = await inRun(options, async (run) => {
      await save(run, 4);
      await save(run, 8);
      await save(run, 6);
      return run.steps();
    });
    expect(steps).toEqual([4, 6]);
  });

  test("replaces a checkpoint of the same step", async () => {
    const restored = await inRun(options, async (run) => {
      await save(run, 4, "before");
      await save(run, 4, "after");
      return run.latest();
    });
    expect(restored?.state).toBe("after");
    expect(await readdir(join(folder, "checkpoints"))).toEqual(["step-00000004"]);
  });

  test("puts a checkpoint back whose replacement never came, and removes leftovers", async () => {
    await inRun(options, (run) => save(run, 4));
    await rename(checkpoint(4), join(folder, "checkpoints", ".step-00000004.replaced.part"));
    const leftover = ".step-00000005.123e4567-e89b-42d3-a456-426614174000.part";
    await mkdir(join(folder, "checkpoints", leftover));
    await writeFile(join(folder, ".123e4567-e89b-42d3-a456-426614174000.part"), "half");
    const model = join(folder, "model", "vae");
    await mkdir(model, { recursive: true });
    await writeFile(join(model, ".123e4567-e89b-42d3-a456-426614174000.safetensors.part"), "half");
    await writeFile(join(model, "config.json"), "{}");
    expect((await inRun(again, (run) => run.latest()))?.step).toBe(4);
    expect(await readdir(join(folder, "checkpoints"))).toEqual(["step-00000004"]);
    expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
    expect(await readdir(model)).toEqual(["config.json"]);
  });

  test("leaves nothing of a save that fails", async () => {
    const source: TensorSource = {
      shapes: new Map([["weight/a", [2]]]),
      read: () => Promise.reject(new Error("gone")),
    };
    await inRun(options, async (run) => {
      await save(run, 1);
      const failing = run.save({ step: 2, task: "test", tensors: source, state: null });
      await expect(failing).rejects.toThrow("gone");
      await expect(save(run, 2, { loss: Number.NaN })).rejects.toThrow('has NaN under "loss"');
    });
    expect(await readdir(join(folder, "checkpoints"))).toEqual(["step-00000001"]);
  });
});

describe("damage", () => {
  const spoil: Readonly<Record<string, () => Promise<unknown>>> = {
    "a changed bit": async () => {
      const file = checkpoint(8, "state.safetensors");
      const handle = await open(file, "r+");
      await handle.write(Uint8Array.of(0x55), 0, 1, (await stat(file)).size - 3);
      await handle.close();
    },
    "a cut file": async () => {
      const file = checkpoint(8, "state.safetensors");
      await writeFile(file, (await readFile(file)).subarray(0, -4));
    },
    "no tensors": () => rm(checkpoint(8, "state.safetensors")),
    "no state": () => rm(checkpoint(8, "state.json")),
    "half a state": () => writeFile(checkpoint(8, "state.json"), '{"step": 8, "ta'),
    "another step's state": async () =>
      writeFile(checkpoint(8, "state.json"), await readFile(checkpoint(4, "state.json"))),
  };

  test.each(Object.entries(spoil))("%s makes it fall back to the checkpoint before", async (_, damage) => {
    await inRun(options, async (run) => {
      await save(run, 4);
      await save(run, 8);
    });
    await damage();
    await inRun(again, async (run) => {
      expect((await run.latest())?.step).toBe(4);
      expect(run.notes).toHaveLength(1);
      expect(run.notes[0]).toMatch(/^the checkpoint of step 8 is damaged and is passed over: /);
    });
  });

  test("of all checkpoints is an error, not a start from the beginning", async () => {
    await inRun(options, (run) => save(run, 8));
    await spoil["no state"]();
    await inRun(again, async (run) => {
      await expect(run.latest()).rejects.toThrow(WeightsError);
      await expect(run.latest()).rejects.toThrow("none of the 1 checkpoints");
    });
  });
});

describe("refusals", () => {
  const refusal = (runOptions: RunOptions) => openRun(folder, runOptions).catch((error: unknown) => error);

  test("of a folder that is not a run leave it as it was", async () => {
    await mkdir(folder);
    await writeFile(join(folder, "holiday.jpg"), "");
    for (const resume of [true, false, "auto"] as const)
      expect(String(await refusal({ ...options, resume }))).toContain(
        'it holds "holiday.jpg" and no run.json',
      );
    expect(await readdir(folder)).toEqual(["holiday.jpg"]);
  });

  test("of a run where none is wanted, and of no run where one is", async () => {
    expect(String(await refusal(again))).toContain("holds no training run to resume");
    expect(await readdir(parent)).toEqual([]);
    await inRun(options, async () => {});
    expect(String(await refusal(options))).toContain("already holds a training run; resume it");
    await inRun({ ...options, resume: "auto" }, async () => {});
  });

  test("of another configuration or seed name what differs", async () => {
    await inRun(options, async () => {});
    const other = { ...again, config: { name: "train.json", text: '{"steps": 9}' } };
    expect(await refusal(other)).toBeInstanceOf(ConfigError);
    expect(String(await refusal(other))).toContain("its text would change its numbers");
    expect(String(await refusal({ ...again, seed: 8 }))).toContain("the seed");
    expect(String(await refusal({ ...other, differences: () => ["width"] }))).toContain("width would change");
  });

  test("of other data are refused, where the run knows what it had", async () => {
    await inRun({ ...options, dataDigest: "a" }, async (run) => expect(run.record.dataDigest).toBe("a"));
    await inRun({ ...again, dataDigest: "a" }, async () => {});
    const refused = String(await refusal({ ...again, dataDigest: "b" }));
    expect(refused).toContain("the files or captions of its data set would change its numbers");
  });

  test("do not cover a configuration whose differences change no numbers; both are kept", async () => {
    await inRun(options, async () => {});
    const config = { name: "train.json", text: '{"steps": 8, "threads": 2}' };
    const record = await inRun({ ...again, config, differences: () => [] }, async (run) => run.record);
    expect(record.resumes.map((resume) => resume.config)).toEqual(["resume-1-train.json"]);
    expect(await readFile(join(folder, "resume-1-train.json"), "utf8")).toBe(config.text);
    expect(await readFile(join(folder, "train.json"), "utf8")).toBe(options.config.text);
  });

  test("of a folder in use name the process", async () => {
    await inRun(options, async () => {
      expect(String(await refusal(again))).toContain(`process ${process.pid} is training in`);
    });
    await inRun(again, async () => {});
  });

  test("of a lock from another machine say which file to delete", async () => {
    await inRun(options, async () => {});
    await writeFile(join(folder, "lock.1"), JSON.stringify({ pid: 1, host: `not-${hostname()}` }));
    expect(String(await refusal(again))).toContain(`delete ${join(folder, "lock.1")}`);
  });
});

describe("a lock", () => {
  test.each([
    ["of a process that has died", { pid: 2 ** 22 + 1, host: hostname(), born: null }],
    ["of a process whose number another has now", { pid: process.pid, host: hostname(), born: "before" }],
  ])("%s is taken over", async (_, owner) => {
    await inRun(options, async () => {});
    await writeFile(join(folder, "lock.3"), JSON.stringify(owner));
    await inRun(again, async () => {
      expect((await readdir(folder)).filter((name) => name.startsWith("lock"))).toEqual(["lock.4"]);
    });
  });

  test("goes to one of many that find it abandoned", async () => {
    await inRun(options, async () => {});
    await writeFile(join(folder, "lock.1"), "");
    const runs = await Promise.allSettled(Array.from({ length: 8 }, () => openRun(folder, again)));
    const opened = runs.flatMap((run) => (run.status === "fulfilled" ? [run.value] : []));
    expect(opened).toHaveLength(1);
    await opened[0].close();
  });
});

describe("a process that is killed", () => {
  /** Large enough for a kill to fall into the writing. */
  const size = 200_000;
  const source = `
    import { openRun } from ${JSON.stringify(new URL("run-folder.ts", import.meta.url).href)};
    const [folder, size] = [process.env.FOLDER, Number(process.env.SIZE)];
    ${tensorsOf.toString()}
    console.log("ready");
    const run = await openRun(folder, { ...${JSON.stringify(options)}, resume: "auto", keepEvery: 5 });
    let step = (await run.latest())?.step ?? 0;
    for (;;) {
      step++;
      await run.save({ step, task: "test", tensors: tensorsOf(step, size), state: { half: step / 2 } });
      console.log("saved " + step);
    }`;

  test("at any moment leaves a folder that opens, with the last saved step whole", async () => {
    let last = 0;
    for (let round = 0; round < 10; round++) {
      const env = { ...process.env, FOLDER: folder, SIZE: String(size) };
      const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", source], {
        env,
        stdio: ["ignore", "pipe", "pipe"],
      });
      // On a busy machine no first save may be done so soon; later kills wait for one.
      last = Math.max(last, await killSoon(child, round < 5 ? /ready/ : /saved/));
      await inRun({ ...options, resume: "auto", keepEvery: 5 }, async (run) => {
        const restored = await run.latest();
        // The kill may come between the rename and the message, never the other way round.
        expect(restored?.step ?? 0).toBeGreaterThanOrEqual(last);
        expect(run.notes).toEqual([]);
        if (restored === undefined) return;
        last = restored.step;
        expect(restored.state).toEqual({ half: last / 2 });
        for (const [name, { data }] of tensorsOf(last, size))
          expect(Buffer.compare(bytesOf(restored.tensors.get(name)!.data), bytesOf(data))).toBe(0);
        expect(await checkpointSteps(join(folder, "checkpoints"))).toContain(last);
        expect((await readdir(join(folder, "checkpoints"))).filter((name) => name[0] === ".")).toEqual([]);
      });
    }
    expect(last).toBeGreaterThan(0);
  }, 240_000);

  function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
    return new Uint8Array(buffer, byteOffset, byteLength);
  }

  /** Kills a child a random time after it has said `sign`; the last step that it said it had saved. */
  async function killSoon(child: ChildProcess, sign: RegExp): Promise<number> {
    let said = "";
    let complaint = "";
    child.stdout!.on("data", (text: Buffer) => {
      said += text;
    });
    child.stderr!.on("data", (text: Buffer) => {
      complaint += text;
    });
    const closed = once(child, "close");
    while (!sign.test(said) && child.exitCode === null)
      await Promise.race([once(child.stdout!, "data"), closed]);
    await sleep(Math.random() * 400);
    child.kill("SIGKILL");
    const [, signal] = await closed;
    expect(signal, complaint).toBe("SIGKILL");
    return Number([...said.matchAll(/saved (\d+)\n/g)].at(-1)?.[1] ?? 0);
  }
});

/** @file The engine with its thread: what it promises while it runs, when it fails and when it ends. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { bool, f32, hashed, i32, i64, numbers } from "../../test/helpers/host-tensor.ts";
import { CancelledError, SessionError } from "../errors.ts";
import { type OnnxModel, toOnnx } from "../graph/onnx.ts";
import { emit, input, type Tensor } from "../graph/tensor.ts";
import { Engine, type Session } from "./engine.ts";
import type { HostTensor } from "./protocol.ts";

const model = (build: (x: Tensor) => Tensor, shape: readonly number[]): OnnxModel =>
  toOnnx({ y: build(input("x", shape)) });
const doubling = model((x) => x.mul(2), [2]);
const x = f32([2], [1, -3]);

let engine: Engine;
let double: Session;
beforeAll(async () => {
  engine = new Engine({ threads: 1 });
  double = await engine.load("double", doubling);
});
afterAll(() => engine.close());

describe("a run", () => {
  test("leaves its result with the engine until it is brought back", async () => {
    const { y } = await engine.run(double, { x });
    expect(y).toMatchObject({ dtype: "f32", shape: [2] });
    const { y: fourfold } = await engine.run(double, { x: y });
    expect(numbers(await engine.download(fourfold))).toEqual([4, -12]);
    expect(numbers(await engine.download(y, { keep: true }))).toEqual([2, -6]);
    expect(numbers(await engine.download(y))).toEqual([2, -6]);
    await expect(engine.download(y)).rejects.toThrow(/was freed before it was used/);
  });

  test("lets go of what it consumes", async () => {
    const resident = await engine.upload(x);
    const { y } = await engine.run(double, { x: resident }, { consume: [resident] });
    await expect(engine.download(resident)).rejects.toThrow(SessionError);
    expect(numbers(await engine.download(y))).toEqual([2, -6]);
  });

  test("refuses a tensor that was freed, and names the segment", async () => {
    const resident = await engine.upload(x);
    await engine.free(resident);
    await engine.free(resident);
    await expect(engine.run(double, { x: resident })).rejects.toThrow(
      /^the engine failed in double: resident tensor \d+ was freed before it was used$/,
    );
  });

  test("does not start after the signal has fired, and leaves its inputs alone", async () => {
    const resident = await engine.upload(x);
    const options = { consume: [resident], signal: AbortSignal.abort() };
    const run = engine.run(double, { x: resident }, options);
    await expect(run).rejects.toThrow(new CancelledError("stopped before double"));
    expect(numbers(await engine.download(resident))).toEqual([1, -3]);
  });

  test("starts while the signal has not fired", async () => {
    const { signal } = new AbortController();
    const { y } = await engine.run(double, { x }, { signal });
    expect(numbers(await engine.download(y))).toEqual([2, -6]);
  });

  test("does not hold up the caller's event loop", async () => {
    const chain = model((a) => a.matmul(a).matmul(a).matmul(a), [1200, 1200]);
    const session = await engine.load("long", chain);
    const feeds = { x: { dtype: "f32", shape: [1200, 1200], data: new Float32Array(1200 * 1200) } as const };
    const order: string[] = [];
    const run = engine.run(session, feeds).then(({ y }) => {
      order.push("run");
      return engine.free(y);
    });
    for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve));
    order.push("event loop");
    await run;
    expect(order).toEqual(["event loop", "run"]);
  });
});

describe("outputs written over residents", () => {
  const [old, gain] = [input("old", [2]), input("gain", [2])];
  const build = toOnnx({ next: old.mul(0.5).add(gain), twice: gain.mul(2) }, { direct: true });

  test("become those residents, also where they are fed", async () => {
    const session = await engine.load("update", build);
    let state = await engine.upload(f32([2], [8, -4]));
    for (const [first, second] of [
      [5, -1],
      [3.5, 0.5],
    ]) {
      const { next, twice } = await engine.run(
        session,
        { old: state, gain: f32([2], [1, 1]) },
        { into: new Map([["next", state]]) },
      );
      expect(next.id).toBe(state.id);
      expect(numbers(await engine.download(next, { keep: true }))).toEqual([first, second]);
      expect(numbers(await engine.download(twice))).toEqual([2, 2]);
      state = next;
    }
    await engine.free(state);
  });

  test("leave what is fed from elsewhere as it was", async () => {
    const session = await engine.load("update", build);
    const [from, to] = [await engine.upload(f32([2], [8, -4])), await engine.upload(f32([2], [0, 0]))];
    await engine.run(session, { old: from, gain: f32([2], [1, 1]) }, { into: new Map([["next", to]]) });
    expect(numbers(await engine.download(from))).toEqual([8, -4]);
    expect(numbers(await engine.download(to))).toEqual([5, -1]);
  });
});

describe("numbers that are not finite", () => {
  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "name the segment and the output when a weight is %s",
    async (value) => {
      const build = input("x", [2]);
      const weights = toOnnx({ ok: build.add(1), y: build.mul(emit("Param", [], { key: "w", shape: [2] })) });
      const session = await engine.load("transformer_blocks.7", weights);
      await expect(engine.run(session, { x, w: f32([2], [1, value]) })).rejects.toThrow(
        /^transformer_blocks\.7 is the first segment whose result is not finite \(output y holds NaN or infinity\)/,
      );
    },
  );

  test("are let through in outputs that somebody else looks at, and in no others", async () => {
    const x = input("x", [2]);
    const session = await engine.load("doubled", toOnnx({ loss: x.sum([0]), gradient: x.mul(2) }));
    const feeds = { x: f32([2], [3e38, -3e38]) };
    const { gradient } = await engine.run(session, feeds, { unchecked: ["gradient"] });
    expect(numbers(await engine.download(gradient))).toEqual([
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]);
    await expect(engine.run(session, feeds)).rejects.toThrow(/output gradient holds/);
    await expect(
      engine.run(session, { x: f32([2], [3e38, 3e38]) }, { unchecked: ["gradient"] }),
    ).rejects.toThrow(/output loss holds/);
  });
});

describe("host tensors", () => {
  const kinds: readonly HostTensor[] = [
    f32([2], [0.5, -1]),
    i32([2], [1, -1]),
    i64([2], [1, -1]),
    bool([2], [1, 0]),
    { dtype: "f16", shape: [2], data: Uint16Array.of(0x3c00, 0xc000) },
    { dtype: "i8", shape: [2], data: Int8Array.of(1, -1) },
    { dtype: "u8", shape: [2], data: Uint8Array.of(1, 255) },
    f32([], [3]),
  ];

  test.each(kinds.map((tensor) => [tensor.dtype, tensor] as const))(
    "of %s come back as they went",
    async (_, t) => {
      const resident = await engine.upload(t);
      const back = await engine.download(resident);
      expect(back).toMatchObject({ dtype: t.dtype, shape: t.shape });
      expect(new Uint8Array(back.data.buffer)).toEqual(new Uint8Array(t.data.buffer));
    },
  );

  test("of f16 go through a session", async () => {
    const y = input("x", [2], "f16").cast("f32").mul(2).cast("f16");
    const session = await engine.load("half", toOnnx({ y }));
    const feed: HostTensor = { dtype: "f16", shape: [2], data: Uint16Array.of(0x3c00, 0xc000) };
    const { data } = await engine.download((await engine.run(session, { x: feed })).y);
    expect(new Uint16Array(data.buffer)).toEqual(Uint16Array.of(0x4000, 0xc400));
  });

  test("may be views into larger arrays", async () => {
    const view = Float32Array.of(9, 1, -3, 9).subarray(1, 3);
    const { y } = await engine.run(double, { x: { dtype: "f32", shape: [2], data: view } });
    expect(numbers(await engine.download(y))).toEqual([2, -6]);
  });

  test("of bf16 are refused with a way out", async () => {
    const upload = engine.upload({ dtype: "bf16", shape: [1], data: Uint16Array.of(0) });
    await expect(upload).rejects.toThrow("widen to f32 first");
  });
});

describe("a session", () => {
  test("that the engine refuses is named in the error", async () => {
    const broken = { ...doubling, bytes: doubling.bytes.slice(0, -9) };
    const load = engine.load("vae.decoder.conv_in", broken);
    await expect(load).rejects.toThrow(/^the engine refused vae\.decoder\.conv_in: /);
    await expect(load).rejects.toBeInstanceOf(SessionError);
    await expect(load).rejects.toHaveProperty("cause");
  });

  test("whose weights lie in a file that is not there is named in the error", async () => {
    const y = input("x", [2]).mul(emit("Param", [], { key: "w", shape: [2] }));
    const storage = () => ({ dtype: "f32" as const, location: "missing.bin", offset: 0, byteLength: 8 });
    const load = engine.load("head", toOnnx({ y }, { storage }), { weightsFolder: "/nonexistent" });
    await expect(load).rejects.toThrow(/^the engine refused head: /);
  });

  test.each<[string, Record<string, HostTensor>, string]>([
    ["nothing", {}, "double is not fed its input x, f32 [2]"],
    ["an unknown name", { x, z: x }, "double has no input z; it takes x"],
    ["a wrong rank", { x: f32([1, 2], [1, 2]) }, "input x of double must be f32 [2], got f32 [1, 2]"],
    ["a wrong first axis", { x: f32([3], [1, 2, 3]) }, "input x of double must be f32 [2], got f32 [3]"],
    ["a wrong type", { x: i32([2], [1, 2]) }, "input x of double must be f32 [2], got i32 [2]"],
  ])("fed with %s says what it takes", async (_, feeds, message) => {
    await expect(engine.run(double, feeds)).rejects.toThrow(new SessionError(message));
  });

  test("cannot run after it was unloaded", async () => {
    const session = await engine.load("brief", doubling);
    await engine.unload(session);
    await engine.unload(session);
    await expect(engine.run(session, { x })).rejects.toThrow(/in brief: session \d+ was unloaded/);
  });
});

describe("engines", () => {
  const extra: Engine[] = [];
  const start = () => {
    const engine = new Engine({ threads: 1 });
    extra.push(engine);
    return engine;
  };
  afterEach(async () => {
    for (const engine of extra.splice(0)) await engine.close();
  });

  test("work next to each other", async () => {
    const results = await Promise.all(
      [start(), start()].map(async (engine, i) => {
        const session = await engine.load(
          "twin",
          model((a) => a.matmul(a).mul(i + 1), [200, 200]),
        );
        const feed = hashed([200, 200]);
        const runs = await Promise.all([1, 2, 3].map(() => engine.run(session, { x: feed })));
        return Promise.all(runs.map(({ y }) => engine.download(y)));
      }),
    );
    const [first, second] = results.map(([result]) => numbers(result));
    expect(second).toBeCloseToArray(first.map((v) => v * 2));
    for (const [a, b, c] of results) expect([numbers(b), numbers(c)]).toEqual([numbers(a), numbers(a)]);
  });

  test("answer what they were asked before they were closed", async () => {
    const engine = start();
    const loading = engine.load("double", doubling);
    const closing = engine.close();
    await expect(loading).resolves.toMatchObject({ label: "double" });
    await closing;
  });

  test("may be closed twice, and at the same time", async () => {
    const engine = start();
    await Promise.all([engine.close(), engine.close()]);
    await engine.close();
  });

  test("say so when they are used after they were closed", async () => {
    const engine = start();
    const session = await engine.load("double", doubling);
    await engine.close();
    await expect(engine.upload(x)).rejects.toThrow("the engine has been closed");
    await expect(engine.run(session, { x })).rejects.toThrow(
      "the engine failed in double: the engine has been closed",
    );
    await expect(engine.load("double", doubling)).rejects.toThrow("the engine has been closed");
  });
});

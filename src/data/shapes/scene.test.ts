/** @file Scenes: reproducible, within the frame, and never a held-out composition in training. */
import { describe, expect, test } from "vitest";
import { compositions, isHeldOut } from "./held-out.ts";
import { cameraAt, drawScene, poseAt, REACH, type Scene } from "./scene.ts";

const draw = (count: number, options: Partial<Parameters<typeof drawScene>[0]> = {}): Scene[] =>
  Array.from({ length: count }, (_, index) => drawScene({ seed: 7, index, ...options }));

describe("the held-out rule", () => {
  const heldOut = compositions.filter(isHeldOut);

  test("takes about one composition in eight, and not the first prompt of the README", () => {
    expect(compositions).toHaveLength(416);
    expect(heldOut.length / compositions.length).toBeCloseTo(0.125, 2);
    expect(isHeldOut({ colour: "red", shape: "circle", motion: "right" })).toBe(false);
  });

  test.each([
    ["colour", "shape"],
    ["colour", "motion"],
    ["shape", "motion"],
  ] as const)("leaves every pair of %s and %s in training", (a, b) => {
    const pairs = (list: typeof compositions) => new Set(list.map((each) => `${each[a]} ${each[b]}`));
    expect(pairs(compositions.filter((each) => !isHeldOut(each)))).toEqual(pairs(compositions));
  });
});

describe("a scene", () => {
  test("is a pure function of seed and index", () => {
    expect(drawScene({ seed: 3, index: 9 })).toEqual(drawScene({ seed: 3, index: 9 }));
    expect(drawScene({ seed: 3, index: 9 })).not.toEqual(drawScene({ seed: 3, index: 10 }));
    expect(drawScene({ seed: 4, index: 9 })).not.toEqual(drawScene({ seed: 3, index: 9 }));
    expect(drawScene({ seed: 2 ** 40 + 3, index: 9 })).not.toEqual(drawScene({ seed: 3, index: 9 }));
  });

  test("of the training split shows no held-out composition, of the held-out split one first", () => {
    expect(
      draw(1000, { split: "train", twoObjects: 0.5 })
        .flatMap(({ objects }) => objects)
        .some(isHeldOut),
    ).toBe(false);
    const rest = draw(300, { split: "held-out", twoObjects: 0.5 });
    expect(rest.every(({ objects }) => isHeldOut(objects[0]) && !(objects[1] && isHeldOut(objects[1])))).toBe(
      true,
    );
  });

  test("stays within the frame, and its two objects apart and different", () => {
    for (const { objects, camera } of draw(600, { split: "all", twoObjects: 0.5, camera: 0.5 }))
      for (let frame = 0; frame <= 16; frame++) {
        const { shift, zoom } = cameraAt(camera, frame / 16);
        const poses = objects.map((object) => poseAt(object, frame / 16));
        for (const { x, y, radius } of poses) {
          expect(Math.abs(x - 0.5 - shift) * zoom + radius * zoom * REACH).toBeLessThan(0.5);
          expect(Math.abs(y - 0.5) * zoom + radius * zoom * REACH).toBeLessThan(0.5);
        }
        if (objects.length === 1) continue;
        const [p, q] = poses;
        expect(Math.hypot(p.x - q.x, p.y - q.y)).toBeGreaterThan((p.radius + q.radius) * REACH);
        expect([objects[0].colour, objects[0].shape]).not.toContain(objects[1].colour);
        expect(objects[0].shape).not.toBe(objects[1].shape);
      }
  });

  test("has a moving camera only over a texture", () => {
    const moving = draw(400, { camera: 0.5 }).filter(({ camera }) => camera !== "still");
    expect(moving.length).toBeGreaterThan(100);
    for (const { background } of moving) expect(["grid", "stripes", "dots"]).toContain(background.pattern);
  });

  test("refuses a seed or index that is no whole number", () => {
    expect(() => drawScene({ seed: 0.5, index: 0 })).toThrow("the seed of a scene is 0.5");
    expect(() => drawScene({ seed: 0, index: -1 })).toThrow("the index of a scene is -1");
  });
});

test("on a grid, objects stand on its lines with one radius for each size, one length for each motion and one turn", () => {
  const scenes = draw(300, { grid: 4, camera: 0 });
  const objects = scenes.flatMap((scene) => scene.objects);
  for (const { x, y } of objects) expect([4 * x, 4 * y].every(Number.isInteger)).toBe(true);
  for (const object of objects)
    for (const t of [0, 0.25, 0.5, 0.75, 1]) {
      const { x, y, radius } = poseAt(object, t);
      for (const edge of [x - radius, y - radius, 1 - x - radius, 1 - y - radius])
        expect(edge).toBeGreaterThan(0);
    }
  const single = scenes.filter((scene) => scene.objects.length === 1).flatMap((scene) => scene.objects);
  const radii = (size: string) =>
    new Set(single.filter((one) => one.size === size).map(({ radius }) => radius));
  expect([radii("small").size, radii("large").size]).toEqual([1, 1]);
  expect(new Set(single.map(({ travel }) => travel))).toEqual(new Set([0, 0.19, 0.385]));
  expect(new Set(single.map(({ x }) => x)).size).toBe(3);
  const turns = new Set(single.filter(({ motion }) => motion === "spins").map(({ turn }) => turn));
  expect([...turns]).toEqual([2.9]);
});

test("motions are drawn as often as asked", () => {
  const counts = new Map<string, number>();
  for (const { objects } of draw(1200, { motions: { spins: 4 }, twoObjects: 0 }))
    counts.set(objects[0].motion, (counts.get(objects[0].motion) ?? 0) + 1);
  expect(counts.get("spins")).toBeGreaterThan(340);
  expect(counts.get("spins")).toBeLessThan(460);
  expect(counts.get("left")).toBeLessThan(140);
});

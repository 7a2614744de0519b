/** @file Living processes are told from dead ones, whoever they belong to. */
import { spawnSync } from "node:child_process";
import { expect, test, vi } from "vitest";
import { isRunning } from "./living.ts";

test("this process and its parent live", () => {
  expect(isRunning(process.pid)).toBe(true);
  expect(isRunning(process.ppid)).toBe(true);
});

test("a process that has ended does not", () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  expect(isRunning(pid)).toBe(false);
});

test("one that may not be signalled lives", () => {
  const refused = Object.assign(new Error("not permitted"), { code: "EPERM" });
  const kill = vi.spyOn(process, "kill").mockImplementation(() => {
    throw refused;
  });
  expect(isRunning(1)).toBe(true);
  kill.mockRestore();
});

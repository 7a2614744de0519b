/** @file Runs every benchmark in a process of its own and prints their results as one JSON array. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const cli = fileURLToPath(new URL("../bin/cogvideox.mjs", import.meta.url));

/** One process each, so that the memory of one does not count for the next. */
const calls = [["dit"], ["t5"], ["vae", "--mode", "decode"], ["vae", "--mode", "encode"], ["pipeline"]];

/** Names on the command line choose; without any, everything runs but the pipeline, which takes 12.5 GiB of disk. */
const names = process.argv.slice(2);
const chosen = calls.filter(([name]) => (names.length > 0 ? names.includes(name) : name !== "pipeline"));

const results: unknown[] = [];
for (const call of chosen) results.push(await bench(call));
process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);

/** The result of one benchmark, which is the first line; its progress goes to stderr. */
function bench(call: readonly string[]): Promise<unknown> {
  const child = spawn(process.execPath, [cli, "bench", ...call, "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on("close", (status) => {
      if (status === 0) resolve(JSON.parse(output.slice(0, output.indexOf("\n"))));
      else reject(new Error(`cogvideox bench ${call.join(" ")} ended with status ${status}`));
    });
  });
}

#!/usr/bin/env node
// The command line: the sources in a checkout, so that it needs no build there, and what was built from them elsewhere.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const built = new URL("../dist/cli/main.js", import.meta.url);
const source = new URL("../src/cli/main.ts", import.meta.url);
const isCheckout = existsSync(fileURLToPath(source));
if (isCheckout) (await import("tsx/esm/api")).register();
const { main } = await import((isCheckout ? source : built).href);
process.exitCode = await main(process.argv.slice(2));

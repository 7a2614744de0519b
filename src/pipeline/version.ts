/** @file The package's version, as its manifest says. */
import { createRequire } from "node:module";

/** The version of this package, such as "0.1.0". */
export function version(): string {
  const manifest: unknown = createRequire(import.meta.url)("cogvideox/package.json");
  return (manifest as { version: string }).version;
}

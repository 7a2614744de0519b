/** @file Reads the reference numbers in test/fixtures/diffusion. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

/** The content of test/fixtures/diffusion/NAME.json; the caller names the type that make_fixture.py wrote. */
export function readDiffusionFixture<T>(name: string): T {
  const url = new URL(`../fixtures/diffusion/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8")) as T; // JSON border
}

/** Little-endian float32 numbers from base64. */
export function floats32(base64: string): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);
}

/** Little-endian float64 numbers from base64. */
export function floats64(base64: string): Float64Array {
  return new Float64Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);
}

/** Hexadecimal SHA-256 of the bytes of an array: two arrays with the same one are equal bit for bit. */
export function sha256(values: Float32Array | Float64Array): string {
  return createHash("sha256")
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest("hex");
}

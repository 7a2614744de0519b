/** @file The number formats a .safetensors file may hold, and how many bytes a tensor of each takes. */

const bitsPerElement = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E5M2FNUZ: 8,
  F8_E4M3FNUZ: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** A dtype by the name it has in the header of a .safetensors file. */
export type StoredDType = keyof typeof bitsPerElement;

/** All dtypes of the format, for messages and tests. */
export const storedDTypes = Object.keys(bitsPerElement) as readonly StoredDType[];

/** Whether a header's `dtype` is one of the format. */
export function isStoredDType(value: unknown): value is StoredDType {
  return typeof value === "string" && Object.hasOwn(bitsPerElement, value);
}

/** Bits of one element: 4 and 6 for the packed kinds, otherwise a multiple of 8. */
export function storedBits(dtype: StoredDType): number {
  return bitsPerElement[dtype];
}

/**
 * Bytes of a dense tensor. `undefined` where there is no such number: the product passes 2^53 bits, or a packed
 * kind does not fill its last byte. `shape` must hold non-negative integers.
 */
export function storedBytes(dtype: StoredDType, shape: readonly number[]): number | undefined {
  let bits: number = bitsPerElement[dtype];
  for (const dimension of shape) {
    bits *= dimension;
    if (!Number.isSafeInteger(bits)) return undefined;
  }
  return bits % 8 === 0 ? bits / 8 : undefined;
}

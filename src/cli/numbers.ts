/** @file Numbers as people read them. */

/** Bytes with a binary unit: 512 B, 92.8 KiB, 9.51 GiB. */
export function byteSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** Bytes in MiB, to the nearest. */
export function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}

/** A count with its noun and separated thousands: 1 tensor, 1,234 tensors. */
export function count(value: number, noun: string): string {
  return `${value.toLocaleString("en-US")} ${noun}${value === 1 ? "" : "s"}`;
}

/** @file Inputs and weights from an integer hash, the same in every language: what the stored reference outputs use. */

/**
 * Numbers in 0 to 1 (exclusive) for one key: the position of a tensor in the sorted key list, or a number agreed on.
 * Double precision, so that scaling happens before the rounding to float32.
 */
export function hashUniform(keyIndex: number, count: number): Float64Array {
  const offset = Math.imul(keyIndex, 2246822519) + 12345;
  return Float64Array.from({ length: count }, (_, i) => {
    let h = Math.imul(i, 2654435761) + offset;
    h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
  });
}

/** An input tensor: uniform in -scale/2 to scale/2. */
export function hashInput(shape: readonly number[], key: number, scale = 4): Float32Array {
  return Float32Array.from(hashUniform(key, elementCount(shape)), (u) => (u - 0.5) * scale);
}

/**
 * Weights for every key of a checkpoint, by position in the ASCII order of all keys given. Matrices and kernels are in
 * -0.2 to 0.2, one-dimensional "...weight" in 0.8 to 1.2, other vectors in -0.1 to 0.1. List tied tensors under both
 * names; the reference ends up with the values of the later name for both.
 */
export function hashWeights(shapes: Readonly<Record<string, readonly number[]>>): Map<string, Float32Array> {
  const keys = Object.keys(shapes).sort((a, b) => (a < b ? -1 : 1));
  return new Map(
    keys.map((key, index) => {
      const shape = shapes[key];
      const scale = shape.length >= 2 || key.endsWith("weight") ? 0.4 : 0.2;
      const center = shape.length < 2 && key.endsWith("weight") ? 1 : 0;
      const values = hashUniform(index, elementCount(shape));
      return [key, Float32Array.from(values, (u) => center + (u - 0.5) * scale)];
    }),
  );
}

function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

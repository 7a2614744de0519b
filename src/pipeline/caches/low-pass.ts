/** @file The low spatial frequencies of latents, for predictions that are derived by frequency band. */
// h height, w width, r radius of the band

/**
 * The low band of planes `[..., h, w]`: frequencies within min(h, w) / 5 of zero, rounded down. Every plane is
 * transformed at these frequencies only, along y, then along x, and back.
 */
export function lowPass(planes: Float32Array, height: number, width: number): Float32Array {
  const radius = Math.floor(Math.min(height, width) / 5);
  const along = { y: waves(height), x: waves(width) };
  const low = new Float32Array(planes.length);
  const size = height * width;
  for (let start = 0; start < planes.length; start += size) {
    const plane = planes.subarray(start, start + size);
    const sums = new Float64Array(size);
    for (let ky = 0; ky <= radius; ky++) {
      const reach = Math.floor(Math.sqrt(radius ** 2 - ky ** 2));
      addBand(plane, sums, { ky, reach, height, width, along });
    }
    low.set(sums, start);
  }
  return low;
}

type Waves = { readonly cos: Float64Array; readonly sin: Float64Array };

type Band = {
  readonly ky: number;
  /** The band has the horizontal frequencies from -reach to reach. */
  readonly reach: number;
  readonly height: number;
  readonly width: number;
  readonly along: { readonly y: Waves; readonly x: Waves };
};

/** Adds what a real plane holds at the vertical frequencies ky and -ky, which are conjugates of each other. */
function addBand(plane: Float32Array, sums: Float64Array, { ky, reach, height, width, along }: Band): void {
  const rows = { re: new Float64Array(width), im: new Float64Array(width) };
  for (let y = 0; y < height; y++) {
    const [cos, sin] = [along.y.cos[(ky * y) % height], along.y.sin[(ky * y) % height]];
    for (let x = 0; x < width; x++) {
      const value = plane[y * width + x];
      rows.re[x] += value * cos;
      rows.im[x] -= value * sin;
    }
  }
  const { re, im } = horizontalBand(rows, reach, width, along.x);
  const share = (ky === 0 ? 1 : 2) / (height * width);
  for (let y = 0; y < height; y++) {
    const [cos, sin] = [along.y.cos[(ky * y) % height], along.y.sin[(ky * y) % height]];
    for (let x = 0; x < width; x++) sums[y * width + x] += share * (re[x] * cos - im[x] * sin);
  }
}

type Complex = { readonly re: Float64Array; readonly im: Float64Array };

/** Keeps the frequencies from -reach to reach of a complex row, times its width. */
function horizontalBand(row: Complex, reach: number, width: number, { cos, sin }: Waves): Complex {
  const kept = { re: new Float64Array(width), im: new Float64Array(width) };
  for (let k = -reach; k <= reach; k++) {
    const at = (x: number) => (((k * x) % width) + width) % width;
    let [re, im] = [0, 0];
    for (let x = 0; x < width; x++) {
      re += row.re[x] * cos[at(x)] + row.im[x] * sin[at(x)];
      im += row.im[x] * cos[at(x)] - row.re[x] * sin[at(x)];
    }
    for (let x = 0; x < width; x++) {
      kept.re[x] += re * cos[at(x)] - im * sin[at(x)];
      kept.im[x] += im * cos[at(x)] + re * sin[at(x)];
    }
  }
  return kept;
}

function waves(length: number): Waves {
  const angles = Float64Array.from({ length }, (_, i) => (2 * Math.PI * i) / length);
  return { cos: angles.map(Math.cos), sin: angles.map(Math.sin) };
}

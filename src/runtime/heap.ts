/** @file The C library's heap: told to keep freed memory between runs and to give it back between stages. */
import koffi from "koffi";

/**
 * A run allocates and frees gigabytes. By default glibc hands every large block back to the kernel at once, and the
 * page faults of taking it again cost up to half of a run's time; the engine's own arenas avoid that but keep a peak
 * each, for every session. One heap that all sessions share costs neither. See docs/log.md for the measurement.
 */
const tuning: readonly (readonly [option: number, value: number])[] = [
  [-8, 1], // M_ARENA_MAX: one arena for all threads
  [-4, 0], // M_MMAP_MAX: no block gets a mapping of its own
  [-1, 2 ** 31 - 1], // M_TRIM_THRESHOLD: the top of the heap stays
  [-2, 64 << 20], // M_TOP_PAD: the heap grows in large steps
];

type LibC = {
  readonly mallopt: (option: number, value: number) => number;
  readonly trim: (pad: number) => number;
  readonly exit: (status: number) => void;
};

const libc = loadLibC();

/** Keeps freed memory in the process from now on. Does nothing where the C library is not glibc. */
export function keepFreedMemory(): void {
  for (const [option, value] of tuning) libc?.mallopt(option, value);
}

/** Gives memory that is not in use back to the kernel. */
export function returnFreedMemory(): void {
  libc?.trim(0);
}

/**
 * Ends the process at once, also while another thread is inside the engine, which a normal exit would wait for.
 * Falls back to a kill where the C library is not glibc.
 */
export function exitNow(status: number): void {
  if (libc) libc.exit(status);
  else process.kill(process.pid, "SIGKILL");
}

function loadLibC(): LibC | null {
  if (process.platform !== "linux") return null;
  try {
    const library = koffi.load("libc.so.6");
    return {
      mallopt: library.func("int mallopt(int, int)"),
      trim: library.func("int malloc_trim(size_t)"),
      exit: library.func("void _exit(int)"),
    };
  } catch {
    return null;
  }
}

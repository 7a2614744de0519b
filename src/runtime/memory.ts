/** @file How much memory this process uses, as the kernel counts it. */
import { readFileSync, writeFileSync } from "node:fs";
import { memoryUsage, resourceUsage } from "node:process";

/** Resident memory in bytes; `anonymous` leaves out mapped files, whose pages the kernel can drop at any time. */
export type Memory = { readonly resident: number; readonly anonymous: number; readonly peak: number };

/** The process's memory now, and its highest resident size since it started or since `resetPeak`. */
export function readMemory(): Memory {
  const status = procStatus();
  if (status === null) {
    const { rss } = memoryUsage();
    return { resident: rss, anonymous: rss, peak: resourceUsage().maxRSS * 1024 };
  }
  const bytes = (key: string): number =>
    Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024;
  return { resident: bytes("VmRSS"), anonymous: bytes("RssAnon"), peak: bytes("VmHWM") };
}

/** Starts a new measurement of the peak, where the kernel allows it. */
export function resetPeak(): void {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // The peak then counts from the start of the process, which is an upper bound.
  }
}

/** Watches anonymous memory while something runs; `stop` gives the highest value seen, in bytes. */
export function watchAnonymous(intervalMs = 20): { stop(): number } {
  let highest = readMemory().anonymous;
  const look = () => {
    highest = Math.max(highest, readMemory().anonymous);
  };
  const timer = setInterval(look, intervalMs);
  return {
    stop() {
      clearInterval(timer);
      look();
      return highest;
    },
  };
}

function procStatus(): string | null {
  try {
    return readFileSync("/proc/self/status", "utf8");
  } catch {
    return null;
  }
}

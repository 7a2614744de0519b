/** @file How much memory this process uses, as the kernel counts it. */
import { readFileSync, writeFileSync } from "node:fs";
import { freemem } from "node:os";
import { join } from "node:path";
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

/**
 * Bytes that this process can still take: what the system has to give, and no more than the control groups around the
 * process leave. Cached files count as available, since the kernel drops them when memory is asked for.
 */
export function availableMemory(): number {
  const free = /^MemAvailable:\s+(\d+) kB/m.exec(contents("/proc/meminfo") ?? "")?.[1];
  const system = free === undefined ? freemem() : 1024 * Number(free);
  return Math.max(0, Math.min(system, ...groupFolders().flatMap(roomIn)));
}

/** Folders of the control groups that the process is in, and of all those around them. */
function groupFolders(): string[] {
  const lines = (contents("/proc/self/cgroup") ?? "").split("\n");
  return lines.flatMap((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === undefined || !["", "memory"].includes(controllers)) return [];
    const root = join("/sys/fs/cgroup", controllers);
    const names = path.split("/").filter((name) => name !== "");
    return Array.from({ length: names.length + 1 }, (_, i) => join(root, ...names.slice(0, i)));
  });
}

/** What a group's limit leaves, by the files of either version; a group without a limit says nothing. */
function roomIn(folder: string): number[] {
  const read = (name: string) => contents(join(folder, name));
  const limit = Number(read("memory.max") ?? read("memory.limit_in_bytes") ?? "none");
  const used = Number(read("memory.current") ?? read("memory.usage_in_bytes") ?? "none");
  if (!Number.isFinite(limit) || !Number.isFinite(used)) return [];
  const cached = /^(?:total_)?inactive_file (\d+)/m.exec(read("memory.stat") ?? "")?.[1] ?? 0;
  return [limit - used + Number(cached)];
}

function procStatus(): string | null {
  return contents("/proc/self/status");
}

function contents(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}

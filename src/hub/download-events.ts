/** @file What happens during a download, and how long it will still take. */
import type { Licence } from "./known-models.ts";

/** Events of a download, in the order in which they can come. */
export type DownloadEvent =
  /** Before the first bytes of a model that was never downloaded; `text` is the model's own licence file. */
  | {
      readonly kind: "licence";
      readonly id: string;
      readonly licence: Pick<Licence, "name" | "url" | "summary" | "special">;
      readonly text: string | null;
    }
  /** What will be downloaded: files and bytes still missing. Not sent where nothing is. */
  | {
      readonly kind: "plan";
      readonly id: string;
      readonly commit: string;
      readonly files: number;
      readonly bytes: number;
    }
  | DownloadProgress
  /** A file is complete and checked. */
  | { readonly kind: "file"; readonly path: string; readonly bytes: number }
  /** An attempt failed and will be repeated. */
  | { readonly kind: "retry"; readonly reason: string; readonly waitMs: number }
  /** The hub does not answer, and a complete copy in the cache is used instead. */
  | { readonly kind: "cached"; readonly reason: string };

/** Bytes of everything in the plan. The estimate is null until there is a rate. */
export type DownloadProgress = {
  readonly kind: "progress";
  readonly done: number;
  readonly total: number;
  readonly bytesPerSecond: number | null;
  readonly secondsLeft: number | null;
};

const REPORT_MS = 200;
const WINDOW_MS = 15_000;

/** Counts bytes of all files and reports a few times a second, with the rate of the last quarter of a minute. */
export class ByteCounter {
  private done = 0;
  private reported = Number.NEGATIVE_INFINITY;
  private samples: { readonly at: number; readonly done: number }[] = [];
  private readonly total: number;
  private readonly onEvent: (event: DownloadProgress) => void;
  private readonly now: () => number;

  constructor(total: number, onEvent: (event: DownloadProgress) => void, now = () => performance.now()) {
    this.total = total;
    this.onEvent = onEvent;
    this.now = now;
  }

  /** More bytes are there; fewer where `bytes` is negative. */
  add(bytes: number): void {
    this.done += bytes;
    const at = this.now();
    if (at - this.reported < REPORT_MS && this.done < this.total) return;
    this.reported = at;
    this.samples = [...this.samples.filter((sample) => at - sample.at <= WINDOW_MS), { at, done: this.done }];
    const bytesPerSecond = this.rate();
    this.onEvent({
      kind: "progress",
      done: this.done,
      total: this.total,
      bytesPerSecond,
      secondsLeft: bytesPerSecond ? (this.total - this.done) / bytesPerSecond : null,
    });
  }

  private rate(): number | null {
    const [first] = this.samples;
    const last = this.samples[this.samples.length - 1];
    const seconds = (last.at - first.at) / 1000;
    return seconds > 0 && last.done > first.done ? (last.done - first.done) / seconds : null;
  }
}

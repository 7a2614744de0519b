/** @file What can be hung on a run of many segments, whichever model they belong to. */

/** Called after every segment with its name, its place and the number of segments of one evaluation. */
export type SegmentListener = (name: string, done: number, total: number) => void;

/** What a caller may hang on a run of many segments. */
export type RunHooks = {
  /** Stops the run before the next segment. */
  readonly signal?: AbortSignal;
  readonly onSegment?: SegmentListener;
};

/** @file Lines of progress: what is said. */
import { expect, test } from "vitest";
import { Progress, type Terminal } from "./terminal.ts";

/** A terminal that keeps what is written to it. */
class Paper implements Terminal {
  readonly isJson = false;
  readonly lines: string[] = [];
  say(line: string): void {
    this.lines.push(line);
  }
  print(): void {}
  emit(): void {}
  progress(line: string): void {
    this.lines.push(`... ${line}`);
  }
}

test("progress tells the stage, the step, the segment and the time left", () => {
  const paper = new Paper();
  const progress = new Progress(paper);
  progress.segment({ stage: "text", name: "encoder.block.0", done: 1, total: 4 });
  progress.segment({ stage: "denoise", name: "embed", done: 1, total: 2 });
  progress.stepDone(1, 3, 2);
  progress.segment({ stage: "denoise", name: "head", done: 2, total: 2 });
  progress.stepDone(2, 3, 4);
  progress.stepDone(3, 3, 4);
  progress.segment({ stage: "decode", name: "up_blocks.0", done: 3, total: 8 });
  expect(paper.lines).toEqual([
    "... reading the prompt [#####---------------] 1/4 encoder.block.0",
    "... denoising [##########----------] 1/2 embed",
    "step 1/3  2.00 s a step  4.00 s left",
    "... denoising step 2/3 [####################] 2/2 head  4.00 s left",
    "step 2/3  4.00 s a step  3.00 s left",
    "step 3/3  4.00 s a step",
    "... decoding [########------------] 3/8 up_blocks.0",
  ]);
});

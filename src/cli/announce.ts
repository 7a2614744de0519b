/** @file Tells people and programs what happens while a clip is made. */
import type { Evaluations } from "../pipeline/caches/evaluations.ts";
import type { PipelineEvent } from "../pipeline/events.ts";
import type { Progress, Terminal } from "./terminal.ts";

const fitted = {
  crop: "scaled and cropped to the clip's size",
  pad: "scaled to the clip's size, black beside it",
  stretch: "stretched to the clip's size",
} as const;

/** @param prompt of the clip that the event belongs to */
export function announce(event: PipelineEvent, prompt: string, progress: Progress, terminal: Terminal): void {
  switch (event.kind) {
    case "encoded":
      if (event.truncated !== null)
        terminal.say(
          `warning: the prompt is too long for this model; this part is ignored: ${event.truncated}`,
        );
      terminal.emit({ event: "encoded", prompt, truncated: event.truncated, seconds: event.seconds });
      break;
    case "source": {
      const { what, width, height, frames, fit } = event;
      const shape = fit === null ? "as it is" : fitted[fit];
      const number = frames === 1 ? "" : `, ${frames} frames`;
      terminal.say(`${what}: ${width}x${height}${number}, ${shape}`);
      terminal.emit({ event: "source", what, width, height, frames, fit });
      break;
    }
    case "step": {
      const { step, steps, timestep, seconds } = event;
      progress.stepDone(step, steps, seconds);
      terminal.emit({ event: "step", step, steps, timestep, seconds });
      break;
    }
    case "frames":
      terminal.emit({
        event: "frames",
        start: event.start,
        count: event.frames.shape[0],
        total: event.total,
      });
      break;
    case "done":
      if (event.evaluations) announceEvaluations(event.evaluations, terminal);
  }
}

function announceEvaluations(evaluations: Evaluations, terminal: Terminal): void {
  const { blocks, attentions } = evaluations;
  const share = ({ done, skipped }: Evaluations["blocks"]) => `${done} of ${done + skipped}`;
  terminal.say(`evaluated ${share(blocks)} blocks, ${share(attentions)} attentions`);
  terminal.emit({ event: "evaluations", ...evaluations });
}

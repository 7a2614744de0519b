/** @file `cogvideox resume`: goes on with a run that was saved and stopped, to the same bytes. */
import { resolve } from "node:path";
import { ConfigError } from "../../errors.ts";
import { command } from "../command.ts";
import { outputsOf, runJob } from "../generate-job.ts";
import { RunFolder } from "../run-folder.ts";

export const resume = command({
  name: "resume",
  about: "Go on with a run that generate --checkpoint-dir has saved",
  positionals: ["DIR"],
  options: {},
  run: async (_, [dir], context) => {
    const folder = await RunFolder.open(resolve(dir));
    const { job } = folder;
    enter(folder.cwd);
    if (folder.isFinished) {
      context.terminal.say(`the run in ${dir} is finished`);
      for (const output of outputsOf(job)) context.terminal.print(output);
      context.terminal.emit({ event: "finished", outputs: outputsOf(job) });
      return;
    }
    await folder.takeOver(outputsOf(job));
    await runJob(job, context, folder);
  },
});

/** The names of a job make sense where it was begun. @throws ConfigError when that folder is gone */
function enter(cwd: string): void {
  try {
    process.chdir(cwd);
  } catch (cause) {
    throw new ConfigError(`the run was begun in the folder ${cwd}, which cannot be entered any more`, {
      cause,
    });
  }
}

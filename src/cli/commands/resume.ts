/** @file `cogvideox resume`: goes on with a run that was saved and stopped, to the same bytes. */
import { resolve } from "node:path";
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
    process.chdir(folder.cwd);
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

/** @file `cogvideox generate`: prompts become video files. */
import { askedJob, requireMakeable } from "../asked-job.ts";
import { command } from "../command.ts";
import { runJob } from "../generate-job.ts";
import { generateGroups, generateTable } from "../generate-table.ts";

export const generate = command({
  name: "generate",
  about: "Make a video from a prompt, and from an image or another video",
  positionals: ["[PROMPT...]"],
  options: generateTable,
  groups: generateGroups,
  run: async (given, positionals, context) => {
    // What can be refused at once is, before gigabytes are downloaded.
    const job = await askedJob(given, positionals, context);
    await requireMakeable(job);
    await runJob(job, context);
  },
});

/** @file `cogvideox generate`: prompts become video files. */
import { command } from "../command.ts";
import { checkJob, jobOf, runJob } from "../generate-job.ts";
import { generateTable } from "../generate-table.ts";
import { likeFile } from "../like-option.ts";

export const generate = command({
  name: "generate",
  about: "Make a video from a prompt, and from an image or another video",
  positionals: ["[PROMPT...]"],
  options: generateTable,
  run: async (given, positionals, context) => {
    const { like } = given;
    const { values, prompts } = like
      ? await likeFile(like, given, positionals)
      : { values: given, prompts: positionals };
    // What can be refused at once is, before gigabytes are downloaded.
    const job = await jobOf(values, prompts);
    checkJob(job);
    await runJob(job, context);
  },
});

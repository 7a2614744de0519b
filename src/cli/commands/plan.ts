/** @file `cogvideox plan`: what generate would take in memory and time, without doing it. */
import { downloadModel } from "../../hub/download.ts";
import { looksLikeModelId } from "../../hub/model-id.ts";
import { hubSettings } from "../../hub/settings.ts";
import { exists } from "../../weights/file.ts";
import { askedJob } from "../asked-job.ts";
import { command } from "../command.ts";
import { generateGroups, generateTable } from "../generate-table.ts";
import { modelFolder } from "../model-folder.ts";
import { planEvent, planLines } from "../plan-report.ts";
import { planJob, requirePlanned } from "../run-planning.ts";

export const plan = command({
  name: "plan",
  about: "Say what generate with the same options would take in memory and time",
  positionals: ["[PROMPT...]"],
  options: generateTable,
  groups: generateGroups,
  run: async (given, positionals, context) => {
    const job = await askedJob(given, positionals, context);
    const { values } = job;
    requirePlanned(values);
    const { model } = values;
    // What a plan needs is small, so that it downloads nothing.
    const isOnHub = model !== undefined && looksLikeModelId(model) && !(await exists(model));
    const folder = isOnHub
      ? (await downloadModel(model, { settings: { ...(await hubSettings()), offline: true } })).folder
      : await modelFolder(values, context);
    const { fitting, machine } = await planJob(job, folder);
    for (const line of planLines(fitting, machine)) context.terminal.print(line);
    context.terminal.emit(planEvent(fitting, machine));
    if (!fitting.fits) context.fail();
  },
});

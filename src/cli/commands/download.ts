/** @file `cogvideox download`: a model from the hub into the cache. */
import { command } from "../command.ts";
import { downloadWithProgress } from "../model-folder.ts";
import { byteSize } from "../numbers.ts";

export const download = command({
  name: "download",
  about: "Download a checkpoint from the Hugging Face hub, such as THUDM/CogVideoX-2b",
  positionals: ["ID"],
  options: { revision: { kind: "text", value: "REV", about: "branch, tag or commit (main)" } },
  run: async ({ revision }, [id], context) => {
    const { terminal } = context;
    const { folder, commit, downloadedBytes } = await downloadWithProgress(id, revision, context);
    terminal.say(
      downloadedBytes > 0 ? `${byteSize(downloadedBytes)} downloaded` : "everything is in the cache already",
    );
    terminal.print(folder);
    terminal.emit({ event: "done", folder, commit, downloadedBytes });
  },
});

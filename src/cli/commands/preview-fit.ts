/** @file `cogvideox preview-fit`: fits the map that previews are made with, and says how good it is. */
import { loadPipeline } from "../../pipeline/pipeline.ts";
import { previewMap } from "../../pipeline/preview-fit.ts";
import { command } from "../command.ts";
import { engineOptions } from "../generate-table.ts";
import { modelFolder, modelOption } from "../model-folder.ts";

export const previewFit = command({
  name: "preview-fit",
  about: "Fit the colours of previews to a checkpoint's VAE; kept for generate --preview",
  positionals: [],
  options: {
    model: modelOption,
    threads: { kind: "integer", about: "threads for one operator (all cores)" },
  },
  run: async (values, _, context) => {
    const { terminal, signal } = context;
    const pipeline = await loadPipeline(await modelFolder(values, context), engineOptions(values));
    try {
      const map = await previewMap(pipeline, { signal });
      for (const [c, name] of ["red", "green", "blue"].entries())
        terminal.print(
          `${name.padEnd(5)} ${[...map.weights[c], map.bias[c]].map((x) => x.toFixed(4)).join(" ")}`,
        );
      terminal.print(`R2 ${map.r2.toFixed(4)} on ${map.samples} places`);
      terminal.emit({ event: "preview-fit", ...map });
    } finally {
      await pipeline.close();
    }
  },
});

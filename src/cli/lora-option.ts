/** @file LoRAs on the command line: FILE, or FILE:SCALE. */

/** What the help says of an option that takes LoRAs. */
export const loraOption = {
  kind: "texts",
  value: "FILE[:SCALE]",
  about: "LoRA to use, and how strongly (1); may be given several times",
} as const;

/** A file and its scale; a number behind the last colon is the scale, any other colon belongs to the name. */
export function parseLoras(
  texts: readonly string[] = [],
): { readonly file: string; readonly scale: number }[] {
  return texts.map((text) => {
    const [, file, scale] = /^(.+):([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)$/i.exec(text) ?? [];
    return file === undefined ? { file: text, scale: 1 } : { file, scale: Number(scale) };
  });
}

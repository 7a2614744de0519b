/** @file Comma-separated values by RFC 4180: quoted fields may hold commas, doubled quotes and line breaks. */

/** One record, and the line (from 1) on which it begins. */
export type CsvRecord = { readonly line: number; readonly fields: readonly string[] };

/** The records of a text without its byte order mark; empty lines are left out. An open quote runs to the end. */
export function parseCsv(text: string): CsvRecord[] {
  const records: CsvRecord[] = [];
  // A field, quoted or plain, and what ends it. Sticky, so that nothing is skipped between two matches.
  const field = /(?:"((?:[^"]|"")*)(?:"|$)([^,\r\n]*)|([^,\r\n]*))(,|\r\n|\n|\r|$)/gy;
  let [line, begin, fields] = [1, 1, [] as string[]];
  while (field.lastIndex < text.length || fields.length > 0) {
    const [whole, quoted, rest = "", plain, end] = field.exec(text)!;
    fields.push(quoted === undefined ? plain : quoted.replaceAll('""', '"') + rest);
    line += whole.match(/\r\n|\n|\r/g)?.length ?? 0;
    if (end === ",") continue;
    if (fields.length > 1 || fields[0] !== "") records.push({ line: begin, fields });
    [begin, fields] = [line, []];
  }
  return records;
}

/** @file Names with what is said of each beside them, in two columns that fit a terminal. */

/** A term and what it means. */
export type Row = { readonly left: string; readonly about: string };

/** Narrower than this, the second column would be a word wide. */
const NARROWEST = 60;

/** Columns of the terminal that stdout is; Infinity where it is none, so that lines of a file stay whole. */
export function terminalColumns(): number {
  return process.stdout.columns ?? Number.POSITIVE_INFINITY;
}

/**
 * One row a line, and more where it would be wider than `columns`: then what is said goes on below its own beginning.
 * @param width of the first column; a longer name moves only its own line
 */
export function twoColumns(
  rows: readonly Row[],
  width: number,
  columns = Number.POSITIVE_INFINITY,
): string[] {
  const indent = " ".repeat(width + 4);
  const room = Math.max(NARROWEST, columns) - indent.length;
  return rows.flatMap(({ left, about }) => {
    const first = `  ${left.padEnd(width)}  `;
    const [start, ...rest] = wrapped(about, room, room - (first.length - indent.length));
    return [`${first}${start}`, ...rest.map((line) => `${indent}${line}`)];
  });
}

/** Lines of at most `room` characters, the first of at most `firstRoom`; a word is never cut. */
function wrapped(text: string, room: number, firstRoom: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line !== "" && longer.length > (lines.length === 0 ? firstRoom : room)) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line];
}

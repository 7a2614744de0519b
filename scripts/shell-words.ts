/** @file Splits the first command of a shell line into words. */

/**
 * Words of a line up to a comment, a pipe, a redirection or the next command; quotes are taken off, variables and
 * patterns stay as they are.
 */
export function shellWords(line: string): string[] {
  const words: string[] = [];
  for (const [whole] of line.matchAll(/(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[^\s"'\\|&;<>])+|[|&;<>]/g)) {
    if (/^(#|[|&;<>]$)/.test(whole)) break;
    words.push(
      whole.replace(
        /"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/g,
        (_, double, single, escaped) => double ?? single ?? escaped,
      ),
    );
  }
  return words;
}

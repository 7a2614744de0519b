/** @file Whether an answer can be used as a prompt, and what can be done about it where it cannot. */

/** How many tokens the text encoder makes of a text, the closing one included, and how many it reads. */
export type TokenBudget = { readonly count: (text: string) => number; readonly limit: number };

/** What a prompt has to satisfy. */
export type Demands = { readonly tokens: TokenBudget; readonly withImage: boolean };

/** The answer without what models put around it: thoughts, fences, quotation marks, a label, doubled spaces. */
export function unwrapped(answer: string): string {
  const said = answer.replace(/^[\s\S]*<\/think>/i, "").trim();
  const fenced = /^```\w*\n([\s\S]*?)\n?```$/.exec(said)?.[1] ?? said;
  const bare = fenced
    .trim()
    .replace(/^\**(?:enhanced |rewritten |final |video )?(?:prompt|caption|description)\**\s*:\**\s*/i, "");
  const unquoted = /^(["'“‘«])([\s\S]*)(["'”’»])$/.exec(bare)?.[2] ?? bare;
  return unquoted
    .split("\n")
    .map((line) => line.replace(/\s+/g, " ").trim())
    .filter((line) => line !== "")
    .join("\n");
}

/** Openings that captions never had: of the film instead of its contents, or of a conversation. */
const openings =
  /^(?:in )?(?:the|this|a|an|our|your) (?:short |whole |entire |opening |generated )?(?:video|clip|footage|scene|film|movie|animation|sequence|shot)\b|^(?:sure|certainly|of course|okay|ok|here is|here's|here are|sorry|i am sorry|i'm sorry|i cannot|i can't|as an ai)\b/i;

/** Where a clip from a picture would leave its one shot. */
const cuts =
  /\b(?:cuts? to|jump cuts?|(?:scene|shot|camera|view|angle)s? (?:then )?(?:cuts?|changes|shifts to|switches|transitions)|(?:next|another|new) (?:scene|shot|angle)|montage|fades? (?:in|out|to))\b/i;

/** What is wrong with a prompt, as phrases behind "it"; the last one says that it is too long, if it is. */
export function faultsOf(text: string, { tokens, withImage }: Demands): string[] {
  const faults: string[] = [];
  const lines = text.split("\n").length;
  const opening = openings.exec(text)?.[0];
  const words = text.split(/\s+/).length;
  const fewest = Math.min(20, Math.floor(tokens.limit / 3));
  if (lines > 1) faults.push(`has ${lines} lines instead of one`);
  if (opening !== undefined) faults.push(`opens with "${opening}"`);
  if (/^(?:[#*-]|\d+[.)])\s/.test(text) || /\*\*|__|```/.test(text)) faults.push("has markup in it");
  if (!isEnglish(text)) faults.push("is not in English");
  if (words < fewest) faults.push(`has ${words} words, which is too short`);
  const cut = withImage ? cuts.exec(text)?.[0] : undefined;
  if (cut !== undefined) faults.push(`leaves the one shot ("${cut}")`);
  const count = tokens.count(text);
  if (count > tokens.limit) faults.push(tooLong(count, tokens.limit));
  return faults;
}

/** Whether length is all that is wrong. */
export function isOnlyTooLong(faults: readonly string[]): boolean {
  return faults.length === 1 && faults[0].endsWith(TOO_LONG);
}

const TOO_LONG = "tokens that the model reads";

function tooLong(count: number, limit: number): string {
  return `has ${count} tokens, more than the ${limit} ${TOO_LONG}`;
}

/** As many whole sentences from the beginning as fit, or as many words where not even one sentence does. */
export function shortened(text: string, tokens: TokenBudget): string {
  const sentences = text.split(/(?<=[.!?])\s+/);
  const kept = longestThatFits(sentences, tokens);
  return kept !== "" ? kept : longestThatFits(text.split(" "), tokens);
}

function longestThatFits(parts: readonly string[], { count, limit }: TokenBudget): string {
  let kept = parts.length;
  while (kept > 0 && count(parts.slice(0, kept).join(" ")) > limit) kept--;
  return parts.slice(0, kept).join(" ");
}

/** Whether the letters are Latin ones; a name in another script here and there does no harm. */
export function isEnglish(text: string): boolean {
  const letters = text.match(/\p{L}/gu) ?? [];
  const latin = text.match(/\p{Script=Latin}/gu) ?? [];
  return latin.length >= 0.9 * letters.length;
}

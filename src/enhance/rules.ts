/** @file Longer prompts without a network: a few sentences that fit almost any clip, where the prompt has none such. */
import { isEnglish, type TokenBudget } from "./checks.ts";
import type { Task } from "./instructions.ts";

/** A sentence for prompts that do not speak of its matter yet. */
type Rule = { readonly about: RegExp; readonly sentence: (prompt: string) => string };

const night = /\b(?:night|midnight|dark|moon|moonlit|stars|starry|neon)\b/i;
const indoors =
  /\b(?:room|kitchen|office|indoors?|inside|studio|table|desk|caf[eé]|restaurant|bar|library|workshop)\b/i;

const light: Rule = {
  about:
    /\b(?:light|lights|\w*lit|lighting|sun|sunny|sunlight|sunset|sunrise|dawn|dusk|glow|glowing|lamp|candle|shadows?)\b/i,
  sentence: (prompt) => {
    if (night.test(prompt))
      return "Faint light picks the shapes out of the darkness and leaves soft shadows.";
    if (indoors.test(prompt)) return "Soft light falls in from the side and leaves gentle shadows.";
    return "Soft natural light brings out colours and textures.";
  },
};

const motion: Rule = {
  about:
    /\b(?:slowly|smooth|smoothly|gently|quickly|fast|suddenly|still|motionless|slow motion|time-?lapse)\b/i,
  sentence: () => "The movement is smooth and continuous, and small details move along with it.",
};

const camera: Rule = {
  about: /\b(?:camera|close-?up|shot|view|angle|zoom|pan|tilt|tracking|aerial|lens|wide)\b/i,
  sentence: () => "The camera holds a steady view with the subject in focus in the middle.",
};

const surroundings: Rule = {
  about: /\b(?:background|behind|distance|surround\w*|landscape|foreground)\b/i,
  sentence: () => "The background is calm and slightly out of focus.",
};

const textRules: readonly Rule[] = [light, motion, camera, surroundings];

const oneShot: Rule = {
  about: /\b(?:one shot|single shot|unbroken|continuous shot)\b/i,
  sentence: () => "Everything stays one unbroken shot from the same viewpoint.",
};

/** What a picture shows is not to be contradicted, so that only its movement is spoken of. */
const imageRules: readonly Rule[] = [motion, oneShot];

/** Prompts of this many words are long enough to be left alone. */
const LONG = 60;

/**
 * A longer prompt from a short one: the same words, ended as a sentence, and then what almost any caption says of light,
 * movement, camera and background, where the prompt does not and as far as the tokens reach. Nothing is random. A
 * prompt that is long already, not in English, or too long comes back as it is, on one line.
 */
export function enhanceByRules({ prompt, image }: Omit<Task, "limit">, tokens: TokenBudget): string {
  const own = prompt.replace(/\s+/g, " ").trim();
  if (own.split(" ").length >= LONG || !isEnglish(own)) return own;
  const rules = image === undefined ? textRules : imageRules;
  const opening =
    own === "" ? "What the picture shows comes to life with a natural, gentle movement." : sentence(own);
  let text = tokens.count(opening) <= tokens.limit ? opening : own;
  for (const rule of rules) {
    if (rule.about.test(own)) continue;
    const longer = `${text} ${rule.sentence(own)}`;
    if (tokens.count(longer) > tokens.limit) break;
    text = longer;
  }
  return text;
}

function sentence(text: string): string {
  const [first, ...rest] = text;
  const ended = /[.!?…]["'”’)]?$/.test(text) ? "" : ".";
  return first.toUpperCase() + rest.join("").replace(/[,;:\s]+$/, "") + ended;
}

/** @file What a language model is told so that it writes prompts like the captions that CogVideoX was trained on. */
import type { ChatMessage, ContentPart } from "./chat-endpoint.ts";

/** What is to be rewritten. */
export type Task = {
  /** May be empty where there is an image. */
  readonly prompt: string;
  /** The picture that the clip begins with, as a data URL. */
  readonly image?: string;
  /** Tokens that the model's text encoder reads, the closing one included. */
  readonly limit: number;
};

/** Rules that hold with and without a picture. */
const shared = [
  "Answer with one paragraph of plain English on a single line: no title, no list, no quotation marks, no remarks.",
  "Begin with the subject itself. Never open with words such as 'The video', 'This clip', 'The scene' or 'Here is'.",
  "Say what can be seen: who or what is there, shape, colour, material, clothing, where it stands, the light, the mood.",
  "Say what happens, in the order in which it happens, as one continuous action of a few seconds.",
  "Keep everything that the idea names, translate it if it is in another language, and change none of its facts.",
  "Describe; do not instruct, do not explain, do not mention frames, models or prompts.",
];

const textRules = [
  "You turn short ideas into prompts for a text-to-video model.",
  "The model was trained on long, concrete captions and does poorly with a few words.",
  ...shared,
  "Add only details that fit the idea, and how the camera stands or moves.",
];

const imageRules = [
  "You write prompts for a model that continues a picture as a short video. You see the picture.",
  "Name what is in the picture as it is there, then what moves and how, starting from this very moment.",
  ...shared,
  "The clip is one unbroken shot from this viewpoint: no cuts, no change of scene, no new angle, nothing that is not there.",
  "If no idea is given, choose the most natural movement that the picture suggests.",
];

/** Ideas with prompts of the kind that is wanted. */
const examples: readonly (readonly [idea: string, prompt: string])[] = [
  [
    "a fox in the snow",
    "A red fox with a thick winter coat trots across an open field of untouched snow, its paws sinking slightly with " +
      "each step and leaving a neat line of prints behind. It stops, tilts its head and pricks its black-tipped ears " +
      "towards something hidden under the white crust. Pale morning light falls from the left and throws a long blue " +
      "shadow, and fine flakes drift past its amber eyes. Bare birches stand blurred in the distance. The camera " +
      "follows beside it at its own height and comes to rest when it does.",
  ],
  [
    "old man making noodles",
    "An elderly cook in a flour-dusted navy apron stretches a rope of pale dough between his weathered hands, folds " +
      "it and pulls again until it falls apart into dozens of even strands. Steam rises from a wide iron pot behind " +
      "him and catches the warm glow of a bare bulb above the wooden counter. He swings the noodles once, lets them " +
      "slap the board in a small cloud of flour and drops them into the boiling water with a satisfied smile. The " +
      "narrow kitchen is dim and crowded with stacked bowls. The camera stays close to his hands, then rises slowly " +
      "to his face.",
  ],
  [
    "spaceship landing",
    "A slender silver spacecraft descends through rust-coloured clouds towards a flat desert plain ringed by dark " +
      "cliffs. Four landing legs unfold from its hull as bright blue thrusters fire, and the ground below disappears " +
      "under a spreading wave of orange dust. The craft sways, steadies itself and touches down, its legs bending " +
      "under the weight before the flames go out and the dust begins to settle around it. Two small moons hang in " +
      "the hazy sky. The camera watches from the ground at a distance and tilts down with the ship.",
  ],
];

/** The chat that asks for a prompt. */
export function messagesFor({ prompt, image, limit }: Task): ChatMessage[] {
  const words = wordsFor(limit);
  const idea = prompt.trim() === "" ? "There is no idea besides the picture." : `The idea: ${quoted(prompt)}`;
  const ask = `${idea}\nWrite the prompt in at most ${words} words.`;
  if (image !== undefined) {
    const content: ContentPart[] = [
      { type: "text", text: ask },
      { type: "image_url", image_url: { url: image } },
    ];
    return [
      { role: "system", content: imageRules.join("\n") },
      { role: "user", content },
    ];
  }
  return [
    { role: "system", content: textRules.join("\n") },
    ...examples.flatMap(([from, to]): ChatMessage[] => [
      { role: "user", content: `The idea: ${quoted(from)}\nWrite the prompt in at most 120 words.` },
      { role: "assistant", content: to },
    ]),
    { role: "user", content: ask },
  ];
}

/** The chat goes on after an answer that cannot be used. */
export function correction(given: string, faults: readonly string[], limit: number): ChatMessage[] {
  const content =
    `This cannot be used, because it ${faults.join(", and it ")}. ` +
    `Answer again with nothing but one corrected paragraph of at most ${wordsFor(limit)} words.`;
  return [
    { role: "assistant", content: given },
    { role: "user", content },
  ];
}

/** English words that surely fit: the encoder takes about 1.4 tokens for a word, more for rare ones. */
function wordsFor(limit: number): number {
  return Math.max(8, Math.floor(limit * 0.55));
}

function quoted(text: string): string {
  return JSON.stringify(text.replace(/\s+/g, " ").trim());
}

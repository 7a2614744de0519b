/** @file The official models by name, and under which licence each is given out. */
import type { ModelId } from "./model-id.ts";

/** A licence in a few sentences; the text in the model's own repository is the one that counts. */
export type Licence = {
  readonly name: string;
  readonly url: string;
  /** What it means for users, one sentence a line. */
  readonly summary: readonly string[];
  /** Whether its text is special to these models, so that users should see all of it. */
  readonly special: boolean;
};

const apache: Licence = {
  name: "Apache License 2.0",
  url: "https://www.apache.org/licenses/LICENSE-2.0",
  summary: [
    "Free to use, change and pass on, commercially too, with its notices kept; without any warranty.",
  ],
  special: false,
};

const cogvideox: Licence = {
  name: "CogVideoX License",
  url: "https://huggingface.co/THUDM/CogVideoX-5b/blob/main/LICENSE",
  summary: [
    "Free for academic research.",
    "Commercial use needs a registration at https://open.bigmodel.cn/mla/form, and is limited to 1 million visits a month.",
    "Not for military or illegal purposes; see the text for all conditions.",
  ],
  special: true,
};

/** Names are those of the hub; THUDM has been renamed to zai-org and both lead to the same files. */
const official: readonly (readonly [
  owners: readonly string[],
  names: readonly string[],
  licence: Licence,
])[] = [
  [["THUDM", "zai-org"], ["CogVideoX-2b"], apache],
  [
    ["THUDM", "zai-org"],
    ["CogVideoX-5b", "CogVideoX-5b-I2V", "CogVideoX1.5-5B", "CogVideoX1.5-5B-I2V"],
    cogvideox,
  ],
  [
    ["alibaba-pai"],
    ["CogVideoX-Fun-2b-InP", "CogVideoX-Fun-V1.1-2b-InP", "CogVideoX-Fun-V1.1-2b-Pose"],
    apache,
  ],
  [
    ["alibaba-pai"],
    [
      "CogVideoX-Fun-5b-InP",
      "CogVideoX-Fun-V1.1-5b-InP",
      "CogVideoX-Fun-V1.1-5b-Pose",
      "CogVideoX-Fun-V1.1-5b-Control",
      "CogVideoX-Fun-V1.5-5b-InP",
    ],
    cogvideox,
  ],
];

/** The licence of an official model; null for one that this package does not know. Case does not matter, as on the hub. */
export function licenceOf({ owner, name }: ModelId): Licence | null {
  const has = (list: readonly string[], text: string) =>
    list.some((item) => item.toLowerCase() === text.toLowerCase());
  const found = official.find(([owners, names]) => has(owners, owner) && has(names, name));
  return found?.[2] ?? null;
}

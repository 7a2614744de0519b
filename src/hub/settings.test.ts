/** @file Settings from the variables that the Python client reads. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { hubSettings } from "./settings.ts";

test.each([
  [{}, "/home/me/.cache/huggingface/hub"],
  [{ XDG_CACHE_HOME: "/x" }, "/x/huggingface/hub"],
  [{ HF_HOME: "~/hf", XDG_CACHE_HOME: "/x" }, "/home/me/hf/hub"],
  [{ HF_HOME: "/hf", HUGGINGFACE_HUB_CACHE: "/old" }, "/old"],
  [{ HF_HUB_CACHE: "$DISK/new", HUGGINGFACE_HUB_CACHE: "/old", DISK: "/d" }, "/d/new"],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the variable is the shell's
  [{ HF_HUB_CACHE: "${DISK}/a$NONE", DISK: "/d" }, "/d/a$NONE"],
])("with %j the cache is %s", async (env, cache) => {
  expect((await hubSettings({ HOME: "/home/me", ...env })).cache).toBe(cache);
});

test("the hub is the official one unless another is named, without the slash at its end", async () => {
  expect((await hubSettings({ HOME: "/none" })).endpoint).toBe("https://huggingface.co");
  expect((await hubSettings({ HOME: "/none", HF_ENDPOINT: "http://mirror:80/hf/" })).endpoint).toBe(
    "http://mirror:80/hf",
  );
});

test.each(["huggingface.co", "ftp://hub", "https://user@hub", "https://hub?x"])(
  "%s is no endpoint",
  async (text) => {
    await expect(hubSettings({ HF_ENDPOINT: text })).rejects.toThrow(
      /HF_ENDPOINT must be an http or https address/,
    );
  },
);

test.each([
  ["1", true],
  ["on", true],
  ["YES", true],
  ["true", true],
  ["0", false],
  ["", false],
])("HF_HUB_OFFLINE=%s is %s", async (text, offline) => {
  expect((await hubSettings({ HOME: "/none", HF_HUB_OFFLINE: text })).offline).toBe(offline);
});

test("the token is the variable's, or else the file's, unless that is switched off", async () => {
  const home = temporaryFolder();
  expect((await hubSettings({ HF_HOME: home })).token).toBeUndefined();
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, "token"), " hf_file\r\n");
  expect((await hubSettings({ HF_HOME: home })).token).toBe("hf_file");
  expect((await hubSettings({ HF_HOME: home, HF_TOKEN: "hf_variable\n" })).token).toBe("hf_variable");
  expect((await hubSettings({ HF_HOME: home, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).token).toBeUndefined();
  writeFileSync(join(home, "other"), "hf_other");
  expect((await hubSettings({ HF_HOME: home, HF_TOKEN_PATH: join(home, "other") })).token).toBe("hf_other");
});

test("a token that cannot be sent is refused without being shown", async () => {
  const error = await hubSettings({ HF_TOKEN: "hf_geheim ß" }).catch((thrown: Error) => thrown);
  expect(error).toMatchObject({
    message: expect.stringMatching(/the token in HF_TOKEN holds blanks or other characters/),
  });
  expect((error as Error).message).not.toContain("geheim");
});

test("a time that is no number is refused", async () => {
  await expect(hubSettings({ HF_HUB_DOWNLOAD_TIMEOUT: "soon" })).rejects.toThrow(
    /HF_HUB_DOWNLOAD_TIMEOUT must be a number/,
  );
});

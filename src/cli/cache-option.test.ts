/** @file Caches as they are written on the command line. */
import { expect, test } from "vitest";
import { cacheText, parseCache } from "./cache-option.ts";

test.each([
  [undefined, undefined],
  ["pab", { kind: "pab" }],
  ["teacache:0.2", { kind: "teacache", threshold: 0.2 }],
  ["teacache:coefficients=a.json", { kind: "teacache", coefficientsFile: "a.json" }],
  ["pab:3", { kind: "pab", every: 3 }],
  ["pab:every=3,from=50,to=900", { kind: "pab", every: 3, from: 50, to: 900 }],
  ["dbcache:0.1,back=2", { kind: "dbcache", threshold: 0.1, back: 2 }],
  ["fastercache:unconditional-every=4", { kind: "fastercache", unconditionalEvery: 4 }],
  ["magcache:ratios=a=b.json", { kind: "magcache", ratiosFile: "a=b.json" }],
  ["taylorseer:part=attention", { kind: "taylorseer", part: "attention" }],
])("%s", (text, options) => {
  expect(parseCache(text)).toEqual(options);
  if (options) expect(parseCache(cacheText(options))).toEqual(options);
});

test.each([
  ["teacach", 'got "teacach"; did you mean teacache?'],
  ["", 'got ""'],
  ["calibration", 'got "calibration"'],
  ["pab:evry=3", 'knows every, from, to, got "evry"'],
  ["pab:", 'every of --cache pab must be a number, got ""'],
  ["pab:x", 'every of --cache pab must be a number, got "x"'],
  ["pab:2,every=3", "is given every twice"],
])("refuses %s", (text, message) => {
  expect(() => parseCache(text)).toThrow(message);
});

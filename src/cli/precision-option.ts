/** @file The option --precision: the arithmetic of the transformer. */
import { type Precision, precisions, requirePrecision } from "../pipeline/precision.ts";
import type { Device } from "../runtime/protocol.ts";
import type { QuantizeHooks } from "../weights/quantize/on-load.ts";
import type { Context } from "./command.ts";

/** What the help says of an option that takes a precision. */
export const precisionOption = {
  kind: "text",
  choices: precisions,
  about: "arithmetic of the transformer; int8, w8 and w4 quantise it once",
} as const;

/** The precision that was asked for. @throws ConfigError where the device does not have it */
export function precisionOf({
  precision,
  device,
}: {
  readonly precision?: string;
  readonly device?: string;
}): Precision | undefined {
  // The options' choices are the precisions and the devices.
  const asked = precision as Precision | undefined;
  requirePrecision(asked, device as Device | undefined);
  return asked;
}

/** Says so where a precision is asked for that gains nothing. */
export function noteGain(
  { precision, device = "cpu" }: { readonly precision?: string; readonly device?: string },
  { terminal }: Pick<Context, "terminal">,
): void {
  if (precision === "fp16" && device === "cpu")
    terminal.say(
      "precision fp16 is for GPUs: the cpu rounds to float16 and computes in float32, about as fast as fp32",
    );
}

/** Tells of weights that are being rounded, and leaves no half of a file when the process has to end. */
export function quantizeHooks({
  terminal,
  signal,
  cleanups,
}: Pick<Context, "terminal" | "signal" | "cleanups">): QuantizeHooks {
  return {
    signal,
    onOpen: (abort) => void cleanups.add(abort),
    onTensor: (done, total) => terminal.progress(`rounding tensor ${done}/${total}`),
  };
}

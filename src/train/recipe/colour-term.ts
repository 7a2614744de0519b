/** @file Errors in colour, which a mean over all pixels hardly sees: small coloured things on large grey ones. */
// T frames, H and W height and width
import { abs } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";

/**
 * Mean of |error| times the saturation of the clip's pixel, plus mean errors of red and of blue against green; for a
 * reconstruction and its clip `[T, 3, H, W]` in [-1, 1]. Our own: colourful objects are found before their backgrounds
 * are right to the last digit.
 */
export function colourTerm(reconstruction: Tensor, clip: Tensor): Tensor {
  const error = reconstruction.sub(clip);
  const [red, green, blue] = channelsOf(clip);
  const saturation = [red.sub(green), green.sub(blue), blue.sub(red)].map(abs).reduce((a, b) => a.add(b));
  const [ofRed, ofGreen, ofBlue] = channelsOf(error);
  const chroma = abs(ofRed.sub(ofGreen)).add(abs(ofBlue.sub(ofGreen)));
  const axes = [0, 1, 2, 3];
  return abs(error).mul(saturation).mean(axes).add(chroma.mean(axes));
}

function channelsOf(x: Tensor): Tensor[] {
  return [0, 1, 2].map((channel) => x.slice(1, channel, channel + 1));
}

/** @file An ablation as a picture: training loss and held-out loss along the steps, with bars of the standard error. */
import { mean } from "../src/train/mean.ts";
import { type Arm, type Mean, meanOf, stretchesOf } from "./ablation-table.ts";

/** Points of one arm in one panel. */
type Curve = { readonly label: string; readonly points: readonly (Mean & { readonly step: number })[] };

type Box = { readonly left: number; readonly top: number; readonly width: number; readonly height: number };

const colours = ["#1b6ca8", "#d1495b", "#3a7d44"];

/** The first quarter, where losses fall from 1, does not widen the range that is shown. */
const SHOWN_FROM = 0.25;

/** Two panels as SVG. @param steps of every run */
export function drawAblation(name: string, arms: readonly Arm[], steps: number): string {
  const panel = { top: 28, width: 300, height: 250 };
  const panels = [
    drawPanel("training loss", arms.map(trainingCurve), steps, { ...panel, left: 56 }),
    drawPanel("held-out loss", arms.map(heldOutCurve), steps, { ...panel, left: 424 }),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 320" font-family="sans-serif" font-size="12">
<title>Ablation: ${name}</title>
<rect width="740" height="320" fill="#fff"/>
${panels.join("\n")}
</svg>
`;
}

/** Means of stretches, over seeds. */
function trainingCurve({ label, runs }: Arm): Curve {
  const each = [...runs.values()].map(({ loss }) => ({
    steps: stretchesOf(loss.steps).map(mean),
    values: stretchesOf(loss.values).map(mean),
  }));
  return { label, points: pointsOf(each) };
}

function heldOutCurve({ label, runs }: Arm): Curve {
  return { label, points: pointsOf([...runs.values()].map(({ heldOut }) => heldOut)) };
}

function pointsOf(
  each: readonly { readonly steps: readonly number[]; readonly values: readonly number[] }[],
): Curve["points"] {
  return each[0].steps.map((step, i) => ({ step, ...meanOf(each.map(({ values }) => values[i])) }));
}

function drawPanel(title: string, curves: readonly Curve[], steps: number, box: Box): string {
  const late = curves.flatMap(({ points }) => points.filter(({ step }) => step >= SHOWN_FROM * steps));
  const all = late.flatMap(({ mean, error }) => [mean - (error ?? 0), mean + (error ?? 0)]);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const x = (step: number) => box.left + (box.width * step) / steps;
  const y = (loss: number) => box.top + box.height * (1 - (loss - least) / (most - least || 1));
  const clip = `clip-${box.left}`;
  const { left, top, width, height } = box;
  const lines = curves.map((curve, k) => drawCurve(curve, colours[k], x, y));
  const labels = curves.map(
    ({ label }, k) =>
      `<text x="${left + width - 4}" y="${top + 14 + 17 * k}" text-anchor="end" fill="${colours[k]}">${label}</text>`,
  );
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const loss = least + share * (most - least);
    const across = Math.round(share * steps);
    return (
      `<text x="${left - 6}" y="${place(y(loss) + 4)}" text-anchor="end">${loss.toFixed(3)}</text>` +
      `<text x="${place(x(across))}" y="${top + height + 18}" text-anchor="middle">${across}</text>`
    );
  });
  return `<clipPath id="${clip}"><rect x="${left}" y="${top - 4}" width="${width + 8}" height="${height + 8}"/></clipPath>
<path d="M${left} ${top}V${top + height}H${left + width}" stroke="#888" fill="none"/>
<text x="${left}" y="16">${title}</text>
<text x="${left + width / 2}" y="${top + height + 36}" text-anchor="middle">step</text>
${ticks.join("\n")}
<g clip-path="url(#${clip})">
${lines.join("\n")}
</g>
${labels.join("\n")}`;
}

function drawCurve(
  { points }: Curve,
  colour: string,
  x: (step: number) => number,
  y: (loss: number) => number,
): string {
  const path = points.map(({ step, mean }) => `${place(x(step))},${place(y(mean))}`).join(" ");
  const bars = points.map(({ step, mean, error }) =>
    error === null
      ? ""
      : `<path d="M${place(x(step))} ${place(y(mean - error))}V${place(y(mean + error))}"/>`,
  );
  return `<g stroke="${colour}" fill="none"><polyline points="${path}" stroke-width="2"/>${bars.join("")}</g>`;
}

function place(pixels: number): string {
  return pixels.toFixed(1);
}

/** @file Tests of event files against the bytes that TensorBoard's own writer makes of the same events. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { crc32c, type Event, eventRecord } from "./event-records.ts";
import { openEventFile } from "./tensorboard.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogvideox-events-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** The head of a PNG file of 5 × 3 pixels in RGB, and three bytes more. */
const png = Buffer.from("89504e470d0a1a0a0000000d494844520000000500000003080200000078797a", "hex");

/** Written by tensorboard 2.21.0: summary.writer.record_writer.RecordWriter, Event with wall_time 1.5. */
const known: readonly (readonly [event: Event, step: number, hex: string])[] = [
  [
    { kind: "version" },
    0,
    "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c",
  ],
  [{ kind: "start" }, 7, "0f000000000000006d532b0909000000000000f83f10073a020801774771c7"],
  [
    { kind: "scalars", values: { loss: 0.5, rate: -2 } },
    300,
    "2800000000000000ff70164a09000000000000f83f10ac022a1a0a0b0a046c6f7373150000003f0a0b0a047261746515000000c05b543f38",
  ],
  [
    { kind: "image", tag: "a/b", png },
    8,
    "3e00000000000000d9d240e709000000000000f83f10082a310a2f0a03612f6222280803100518032220" +
      "89504e470d0a1a0a0000000d494844520000000500000003080200000078797a3259fad4",
  ],
  [
    { kind: "text", tag: "config", markdown: "ü" },
    9,
    "2d000000000000003c418afb09000000000000f83f10092a200a1e0a06636f6e6669674208080712004202c3bc" +
      "4a0a0a060a0474657874200291b80625",
  ],
];

describe("records", () => {
  test.each(known)("of %o are TensorBoard's own bytes", (event, step, hex) => {
    expect(Buffer.from(eventRecord(event, step, 1.5)).toString("hex")).toBe(hex);
  });

  test("have the checksum of RFC 3720", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  });
});

describe("an event file", () => {
  test("begins with its version and the step from which it replaces older ones", async () => {
    const events = await openEventFile(folder, 6);
    await events.close();
    const bytes = await readFile(events.file);
    expect(eventsIn(bytes).map(({ content }) => content)).toEqual([
      "1a0d627261696e2e4576656e743a32",
      "10063a020801",
    ]);
  });

  test("comes after every older one, also within a second and after a clock was set back", async () => {
    await writeFile(join(folder, "events.out.tfevents.4000000000.host.1.0"), "");
    const names: string[] = [];
    for (let i = 0; i < 3; i++) {
      const events = await openEventFile(folder, 1);
      await events.close();
      names.push(basename(events.file));
    }
    expect((await readdir(folder)).sort().slice(1)).toEqual(names);
  });

  test("keeps records that are added at once whole and in order", async () => {
    const events = await openEventFile(folder, 1);
    const steps = Array.from({ length: 50 }, (_, i) => i + 1);
    await Promise.all(steps.map((step) => events.scalars(step, { loss: step })));
    await events.close();
    const found = eventsIn(await readFile(events.file)).slice(2);
    expect(found.map(({ content }) => Number.parseInt(content.slice(2, 4), 16))).toEqual(steps);
  });
});

/** Events of a file, their content (behind the time) as hex; throws for a wrong length. */
function eventsIn(bytes: Buffer): { content: string }[] {
  const found: { content: string }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    found.push({ content: bytes.toString("hex", at + 12 + 9, at + 12 + length) });
    at += 12 + length + 4;
    expect(at).toBeLessThanOrEqual(bytes.length);
  }
  return found;
}

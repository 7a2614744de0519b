/** @file The wire format, byte by byte. */
import { expect, test } from "vitest";
import { Message } from "./protobuf.ts";

const hex = (message: Message) => Buffer.from(message.finish()).toString("hex");

test.each([
  [1, "0801"],
  [127, "087f"],
  [150, "089601"],
  [2 ** 31, "088080808008"],
  [2n ** 63n - 1n, "08ffffffffffffffff7f"],
  [-1, "08ffffffffffffffffff01"],
  [0, "0800"],
])("writes the integer %s as the format does", (value, bytes) => {
  expect(hex(new Message().int(1, value))).toBe(bytes);
});

test("writes strings with their length in bytes", () => {
  expect(hex(new Message().string(2, "testing"))).toBe("120774657374696e67");
  expect(hex(new Message().string(2, "ü"))).toBe("1202c3bc");
  expect(hex(new Message().string(2, ""))).toBe("1200");
});

test("writes floats in four bytes", () => {
  expect(hex(new Message().float(2, 1))).toBe("150000803f");
});

test("packs repeated integers", () => {
  expect(hex(new Message().ints(4, [3, 270, 86942]))).toBe("2206038e029ea705");
  expect(hex(new Message().ints(4, []))).toBe("2200");
});

test("nests messages and tells long fields apart", () => {
  expect(hex(new Message().message(3, new Message().int(1, 150)))).toBe("1a03089601");
  expect(hex(new Message().int(20, 7))).toBe("a00107");
});

test("appends the fields of another message behind its own", () => {
  expect(hex(new Message().int(1, 1).append(new Message().int(2, 2)))).toBe("08011002");
});

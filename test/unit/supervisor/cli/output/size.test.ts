import { expect, test } from "bun:test";
import { binarySize, decimalSize, parseSize } from "../../../../../supervisor/cli/output/size.ts";

test("sizes are written as docker writes them", () => {
  expect([0, 999, 1000, 1234, 12_345, 123_456, 999_499, 999_999, 7.34e9].map((bytes) => decimalSize(bytes))).toEqual([
    "0B",
    "999B",
    "1kB",
    "1.23kB",
    "12.3kB",
    "123kB",
    "999kB",
    "1MB",
    "7.34GB",
  ]);
  expect([0, 1023, 1024, 5_554_176, 2 ** 31].map((bytes) => binarySize(bytes))).toEqual([
    "0B",
    "1023B",
    "1KiB",
    "5.297MiB",
    "2GiB",
  ]);
});

test("nothing is negative, and the largest unit takes everything", () => {
  expect(decimalSize(-5)).toBe("0B");
  expect(decimalSize(5e18)).toBe("5000PB");
});

test("sizes are read as people write them", () => {
  expect(["0", "4096", "512m", "1.5g", "2GiB", "10 KB", "1t"].map(parseSize)).toEqual([
    0,
    4096,
    512 * 2 ** 20,
    1.5 * 2 ** 30,
    2 ** 31,
    10240,
    2 ** 40,
  ]);
  expect(["", "-1", "m", "1x", "1e9", "99999999999999999999"].map(parseSize)).toEqual(Array(6).fill(undefined));
});

import { expect, test } from "bun:test";
import { timestamp } from "../../../../shim/task/timestamp.ts";

test.each([
  [0, 0, 0],
  [1, 0, 1_000_000],
  [999, 0, 999_000_000],
  [1_700_000_000_123, 1_700_000_000, 123_000_000],
  [1_700_000_000_999.5, 1_700_000_000, 999_500_000],
  [-1, -1, 999_000_000],
])("%d ms", (milliseconds, seconds, nanos) => {
  expect(timestamp(milliseconds)).toEqual({ seconds, nanos });
});

test("what has not happened is Go's year 1", () => {
  expect(timestamp(undefined)).toEqual({ seconds: -62_135_596_800, nanos: 0 });
});

import { expect, test } from "bun:test";
import { ago, duration, parseDuration, parseMoment, shortDuration } from "../../../../../supervisor/cli/output/age.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

test("lengths of time are said as docker says them", () => {
  const cases: [number, string][] = [
    [0, "Less than a second"],
    [1500, "1 second"],
    [45_000, "45 seconds"],
    [90_000, "About a minute"],
    [3 * MINUTE, "3 minutes"],
    [HOUR, "About an hour"],
    [5 * HOUR, "5 hours"],
    [3 * DAY, "3 days"],
    [20 * DAY, "2 weeks"],
    [90 * DAY, "3 months"],
    [800 * DAY, "2 years"],
  ];
  expect(cases.map(([ms]) => duration(ms))).toEqual(cases.map(([, text]) => text));
});

test("a clock that was set back does not make negative ages", () => {
  const now = new Date("2026-01-01T00:00:00Z");
  expect(ago(new Date(now.getTime() - 3 * MINUTE), now)).toBe("3 minutes ago");
  expect(ago(new Date(now.getTime() + 3 * DAY), now)).toBe("in 3 days");
  expect(ago(new Date(Number.NaN), now)).toBe("N/A");
  expect(ago(undefined, now)).toBe("N/A");
});

test("lengths for columns are short", () => {
  expect([-1, 45_000, 12 * MINUTE, 3 * HOUR, 5 * DAY].map(shortDuration)).toEqual(["0s", "45s", "12m", "3h", "5d"]);
});

test("moments are read as lengths of time, seconds and dates", () => {
  const now = new Date("2026-01-01T12:00:00Z");
  expect(parseDuration("1h30m")).toBe(90 * MINUTE);
  expect(parseDuration("soon")).toBeUndefined();
  expect(parseMoment("10m", now)?.toISOString()).toBe("2026-01-01T11:50:00.000Z");
  expect(parseMoment("1700000000")?.getTime()).toBe(1_700_000_000_000);
  expect(parseMoment("2026-01-01T00:00:00Z")?.toISOString()).toBe("2026-01-01T00:00:00.000Z");
  expect(parseMoment("2026-03-04")?.getTime()).toBe(new Date(2026, 2, 4).getTime());
  expect(["", "yesterday", "2026-99-99", "1e500"].map((text) => parseMoment(text))).toEqual(Array(4).fill(undefined));
});

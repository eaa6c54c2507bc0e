import { expect, test } from "bun:test";
import { format, normalize, ordered, type Platform, runnable } from "../../../../supervisor/image/platform.ts";

const parse = (text: string): Platform => {
  const [os = "", architecture = "", variant = ""] = text.split("/");
  return { os, architecture, variant };
};

test("platforms have one form", () => {
  for (const [given, wanted] of [
    ["Linux/x86_64", "linux/amd64"],
    ["linux/amd64/v1", "linux/amd64"],
    ["linux/amd64/v3", "linux/amd64/v3"],
    ["linux/aarch64/v8", "linux/arm64"],
    ["linux/arm64/v9", "linux/arm64/v9"],
    ["linux/arm", "linux/arm/v7"],
    ["linux/arm/6", "linux/arm/v6"],
    ["linux/armhf", "linux/arm/v7"],
    ["linux/armel", "linux/arm/v6"],
    ["linux/i386", "linux/386"],
    ["macos/arm64", "darwin/arm64"],
  ] as const) {
    expect(format(normalize(parse(given)))).toBe(wanted);
  }
  expect(format(parse(""))).toBe("unknown");
});

test("a machine runs what older machines run, its own best", () => {
  const best = (machine: string, ...offered: string[]): string[] => {
    const matcher = runnable(parse(machine));
    return offered
      .map(parse)
      .filter((platform) => matcher.matches(platform))
      .sort((a, b) => matcher.compare(a, b))
      .map(format);
  };
  expect(
    best("linux/arm64", "linux/arm/v5", "linux/arm/v7", "linux/amd64", "linux/arm64/v8", "linux/arm64/v9"),
  ).toEqual(["linux/arm64/v8", "linux/arm/v7", "linux/arm/v5"]);
  expect(best("linux/arm/v7", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8", "linux/arm64")).toEqual([
    "linux/arm/v7",
    "linux/arm/v6",
  ]);
  expect(best("linux/amd64/v3", "linux/386", "linux/amd64", "linux/amd64/v2", "linux/amd64/v4")).toEqual([
    "linux/amd64/v2",
    "linux/amd64",
    "linux/386",
  ]);
  expect(best("linux/arm64/v9", "linux/arm64/v8.5", "linux/arm64/v8.6", "linux/arm64")).toEqual([
    "linux/arm64/v8.5",
    "linux/arm64",
  ]);
});

test("a list of platforms fits those alone, in its order", () => {
  const matcher = ordered(parse("linux/arm64"), parse("linux/amd64"));
  expect(matcher.matches(parse("linux/386"))).toBe(false);
  expect(matcher.compare(parse("linux/amd64"), parse("linux/arm64/v8"))).toBeGreaterThan(0);
  expect(matcher.matches({ ...parse("linux/amd64"), osFeatures: ["new"] })).toBe(false);
  const windows = ordered({ ...parse("windows/amd64"), osVersion: "10.0.17763.1" });
  expect(windows.matches({ ...parse("windows/amd64"), osVersion: "10.0.17763.99" })).toBe(true);
  expect(windows.matches({ ...parse("windows/amd64"), osVersion: "10.0.20348.1" })).toBe(false);
});

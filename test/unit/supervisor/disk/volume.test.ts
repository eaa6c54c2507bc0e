/** How full is too full. */

import { expect, test } from "bun:test";
import { watermark } from "../../../../supervisor/config/kinds.ts";
import { isAbove, levelOf, showVolume, type Volume, volumesOf } from "../../../../supervisor/disk/volume.ts";

const GiB = 2 ** 30;

function volume(used: number, total: number, inodes: Partial<Pick<Volume, "inodes" | "freeInodes">> = {}): Volume {
  return { device: 1, paths: ["/x"], total, used, available: total - used, inodes: 0, freeInodes: 0, ...inodes };
}

test("a watermark is a part that is used, or room that is left", () => {
  expect(watermark.read("85%")).toEqual({ percent: 85 });
  expect(watermark.read("99.5%")).toEqual({ percent: 99.5 });
  expect(watermark.read("2GiB")).toEqual({ free: 2 * GiB });
  for (const wrong of ["0%", "101%", "-1%", "% 85", "0", "0GiB", "1PiB", 85, true, "", "2 G", "1e3"]) {
    expect(watermark.read(wrong)).toBeUndefined();
  }
});

test("a file system is above a part of its bytes, or of its inodes", () => {
  const mark = { percent: 85 };
  expect(isAbove(volume(85, 100), mark)).toBe(false);
  expect(isAbove(volume(86, 100), mark)).toBe(true);
  expect(isAbove(volume(1, 100, { inodes: 1000, freeInodes: 149 }), mark)).toBe(true);
  expect(isAbove(volume(1, 100, { inodes: 1000, freeInodes: 151 }), mark)).toBe(false);
  expect(isAbove(volume(0, 0), mark)).toBe(false);
});

test("a file system is above room that is to be left, and without an inode above everything", () => {
  expect(isAbove(volume(8 * GiB, 10 * GiB), { free: 2 * GiB })).toBe(false);
  expect(isAbove(volume(8 * GiB + 1, 10 * GiB), { free: 2 * GiB })).toBe(true);
  expect(isAbove(volume(1, 10 * GiB, { inodes: 10, freeInodes: 0 }), { free: 1 })).toBe(true);
});

test("levels follow the watermarks", () => {
  const marks = { high: { percent: 85 }, low: { percent: 80 }, critical: { percent: 95 } };
  expect([80, 85, 86, 95, 96].map((used) => levelOf(volume(used, 100), marks))).toEqual([
    "ok",
    "ok",
    "high",
    "high",
    "critical",
  ]);
});

test("a person is told of what is short", () => {
  expect(showVolume(volume(9 * GiB, 10 * GiB))).toBe("90 % full (1.0 GiB of 10.0 GiB free)");
  expect(showVolume(volume(0, GiB, { inodes: 100, freeInodes: 3 }))).toBe(
    "0 % full (1.0 GiB of 1.0 GiB free), with 3 of 100 inodes free",
  );
});

test("directories of one file system are one volume, and what is not there is none", async () => {
  const volumes = await volumesOf(["/", "/", "/proc", "/nowhere/at/all"]);
  expect(volumes.map(({ paths }) => paths)).toEqual([["/", "/"], ["/proc"]]);
});

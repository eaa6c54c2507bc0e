/** File systems that the daemon writes to, and how full they are. */

import { stat, statfs } from "node:fs/promises";
import type { Watermark } from "../config/kinds.ts";

/** How full a file system is: at ease, above the watermark from which room is made, or too full for anything new. */
export type Level = "ok" | "high" | "critical";

/** One file system. Sizes are bytes. */
export interface Volume {
  /** Its number, as stat gives it. */
  readonly device: number;
  /** Directories of the daemon on it. */
  readonly paths: readonly string[];
  /** What may be used at most: without the room that only root may use. */
  readonly total: number;
  readonly used: number;
  readonly available: number;
  /** 0 for a file system that has no fixed number of them. */
  readonly inodes: number;
  readonly freeInodes: number;
}

/** The watermarks of a file system. */
export interface Watermarks {
  readonly high: Watermark;
  readonly low: Watermark;
  readonly critical: Watermark;
}

/** The file systems of some directories, each once; those that are not there are left out. */
export async function volumesOf(paths: readonly string[]): Promise<Volume[]> {
  const found = new Map<number, string[]>();
  for (const path of paths) {
    const device = (await stat(path).catch(() => undefined))?.dev;
    if (device !== undefined) found.set(device, [...(found.get(device) ?? []), path]);
  }
  const volumes = await Promise.all([...found].map(([device, on]) => volumeOf(device, on)));
  return volumes.filter((volume) => volume !== undefined);
}

async function volumeOf(device: number, paths: readonly string[]): Promise<Volume | undefined> {
  const found = await statfs(paths[0] ?? "").catch(() => undefined);
  if (found === undefined) return undefined;
  const used = (found.blocks - found.bfree) * found.bsize;
  const available = found.bavail * found.bsize;
  return { device, paths, total: used + available, used, available, inodes: found.files, freeInodes: found.ffree };
}

/**
 * True when more is used than a watermark allows. A part that may be used is one of the inodes, too; a file system
 * without a free inode is above every watermark.
 */
export function isAbove({ total, used, available, inodes, freeInodes }: Volume, mark: Watermark): boolean {
  if (inodes > 0 && freeInodes === 0) return true;
  if ("free" in mark) return available < mark.free;
  const isMore = (part: number, whole: number): boolean => whole > 0 && part * 100 > whole * mark.percent;
  return isMore(used, total) || isMore(inodes - freeInodes, inodes);
}

export function levelOf(volume: Volume, { high, critical }: Watermarks): Level {
  if (isAbove(volume, critical)) return "critical";
  return isAbove(volume, high) ? "high" : "ok";
}

/** A watermark as it is configured. */
export function showWatermark(mark: Watermark): string {
  return "percent" in mark ? `${mark.percent}%` : `${mark.free} bytes free`;
}

/** How full a file system is, for people: `91 % full (1.2 GiB of 20.0 GiB free)`. */
export function showVolume({ total, used, available, inodes, freeInodes }: Volume): string {
  const percent = (part: number, whole: number): number => (whole > 0 ? Math.round((part * 100) / whole) : 0);
  const space = `${percent(used, total)} % full (${showBytes(available)} of ${showBytes(total)} free)`;
  const isShort = inodes > 0 && percent(inodes - freeInodes, inodes) > percent(used, total);
  return isShort ? `${space}, with ${freeInodes} of ${inodes} inodes free` : space;
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** A size for people, in the unit that leaves the fewest digits. */
export function showBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

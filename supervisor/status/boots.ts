/** How often this machine was started with a berthd on it: a file in the root, written once a boot. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { bootId } from "../snapshot/boot.ts";
import { writeDurably } from "../store/file.ts";

/** Name of the file. */
const FILE = "boots.json";

/**
 * Counts this boot of the kernel, unless it was counted.
 * @param boot the id of this boot; for tests
 * @returns how many there were; undefined when that cannot be noted
 */
export function countBoots(root: string, boot: string = bootId()): number | undefined {
  const path = join(root, FILE);
  const before = read(path);
  if (before.boot === boot) return before.count;
  try {
    writeDurably(path, JSON.stringify({ boot, count: before.count + 1 }));
  } catch {
    // A full disk: it is counted another time.
    return undefined;
  }
  return before.count + 1;
}

function read(path: string): { readonly boot: string; readonly count: number } {
  try {
    const { boot, count } = JSON.parse(readFileSync(path, "utf8")) as { boot?: unknown; count?: unknown };
    if (typeof boot === "string" && Number.isSafeInteger(count)) return { boot, count: count as number };
  } catch {
    // The first start, or a damaged file: it is counted from here on.
  }
  return { boot: "", count: 0 };
}

/** Reading small files of the machine, which may not be there. */

import { existsSync, readFileSync } from "node:fs";
import type { Place } from "./check.ts";

/** The text of a file; undefined where it cannot be read. */
export function textOf({ prefix }: Pick<Place, "prefix">, path: string): string | undefined {
  try {
    return readFileSync(`${prefix}${path}`, "utf8");
  } catch {
    return undefined;
  }
}

/** The number that a file holds; undefined where there is none. */
export function numberOf(place: Pick<Place, "prefix">, path: string): number | undefined {
  const text = textOf(place, path)?.trim() ?? "";
  return /^-?\d+$/.test(text) ? Number(text) : undefined;
}

/** True when there is something at a path. */
export function isThere({ prefix }: Pick<Place, "prefix">, path: string): boolean {
  return existsSync(`${prefix}${path}`);
}

/** Directories of programs beside PATH, which a service may have short. */
const MORE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The path of a program; undefined when it is not installed. */
export function programPath(name: string): string | undefined {
  return Bun.which(name, { PATH: `${process.env["PATH"] ?? ""}:${MORE}` }) ?? undefined;
}

/** What the query of a `file://` address says of a log: its format, and when it is renamed. */

import { invalidArgument } from "../../../../proto/errdefs.ts";

/** How entries are written. */
export type LogFormat = "json" | "cri" | "raw";

/** The settings of a log. */
export interface LogSettings {
  readonly format: LogFormat;
  /** Bytes after which a file is renamed; Infinity when it may grow without end. */
  readonly maxSize: number;
  /** How many files there may be, with the one that is written to. */
  readonly maxFile: number;
}

/** A smaller file would be renamed at every other line. */
const LEAST_SIZE = 1024;
/** A follower and a rotation look at each of them. */
const MOST_FILES = 100;
const DEFAULT_FILES = 3;
const units: Readonly<Record<string, number>> = { "": 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/**
 * Reads the query of a log's address: `format=json|cri|raw`, `max-size=BYTES` (also `10m`, `1g`), `max-file=N`.
 * @throws ContainerdError InvalidArgument for a key or a value that means nothing: it must not become a log without limits
 */
export function parseSettings(query: string, path: string): LogSettings {
  const refuse = (what: string): never => {
    throw invalidArgument(`log file ${path}: ${what}`);
  };
  const found = new Map<string, string>();
  for (const [key, value] of new URLSearchParams(query)) {
    if (!["format", "max-size", "max-file"].includes(key)) {
      refuse(`unknown setting ${JSON.stringify(key)}: there are format, max-size and max-file`);
    }
    if (found.has(key)) refuse(`${key} is given twice`);
    found.set(key, value);
  }
  const format = found.get("format") ?? "raw";
  if (!isFormat(format)) return refuse(`unknown format ${JSON.stringify(format)}: there are json, cri and raw`);
  const [size, count] = [found.get("max-size"), found.get("max-file")];
  const maxSize = size === undefined ? Number.POSITIVE_INFINITY : parseSize(size);
  if (Number.isNaN(maxSize))
    refuse(`max-size ${JSON.stringify(size)} is no size of ${LEAST_SIZE} bytes or more, such as 10m`);
  const maxFile = count === undefined ? DEFAULT_FILES : /^\d{1,3}$/.test(count) ? Number(count) : 0;
  if (maxFile < 1 || maxFile > MOST_FILES)
    refuse(`max-file ${JSON.stringify(count)} is no number from 1 to ${MOST_FILES}`);
  if (count !== undefined && size === undefined) refuse("max-file needs max-size, or no file would ever be renamed");
  return { format, maxSize, maxFile };
}

function isFormat(text: string): text is LogFormat {
  return text === "json" || text === "cri" || text === "raw";
}

/** @returns NaN for what is no size */
function parseSize(text: string): number {
  const [, digits = "", unit = ""] = /^(\d{1,15})([bkmg]?)b?$/i.exec(text) ?? [];
  const size = digits === "" ? Number.NaN : Number(digits) * (units[unit.toLowerCase()] ?? Number.NaN);
  return size >= LEAST_SIZE && size <= Number.MAX_SAFE_INTEGER ? size : Number.NaN;
}

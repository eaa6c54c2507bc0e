/** What other rooms ask of the log of a container, by its URI. */

import { readFile, stat, unlink } from "node:fs/promises";
import { logFileOf } from "../container/log-uri.ts";
import type { LogEntry } from "./entry.ts";
import { logNumbers, numbered } from "./files.ts";
import { LogReader } from "./reader.ts";

const MOST_LINES = 10_000;
const MOST_BYTES = 1 << 20;

/** The path of a log; undefined for a URI of something else. */
export function logPathOf(uri: string): string | undefined {
  return fileOf(uri)?.path;
}

function fileOf(uri: string): ReturnType<typeof logFileOf> {
  try {
    return logFileOf(uri);
  } catch {
    return undefined;
  }
}

/** Reads the log of a URI; undefined for one that is no file. */
export function readerOf(uri: string): LogReader | undefined {
  const file = fileOf(uri);
  // Without settings a client of another kind may have written it.
  return file && new LogReader(file.path, uri.includes("?") && file.format === "raw" ? "raw" : "any");
}

/** The last lines of a log, as many as fit into a MiB; none for a URI of something else. @throws Error of the file system */
export async function tailOf(uri: string, lines: number): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  let bytes = 0;
  for await (const group of readerOf(uri)?.read({ tail: Math.min(lines, MOST_LINES) }) ?? []) {
    for (const entry of group) {
      entries.push(entry);
      bytes += entry.text.length;
    }
    while (bytes > MOST_BYTES && entries.length > 1) bytes -= entries.shift()?.text.length ?? 0;
  }
  return entries;
}

/** A file of a log. */
export interface LogSize {
  readonly path: string;
  readonly bytes: number;
  /** It is written to; the others may be removed at any time. */
  readonly isCurrent: boolean;
}

/** The files of a log, the oldest first; none for a URI of something else. */
export async function logSizes(uri: string): Promise<LogSize[]> {
  const path = logPathOf(uri);
  if (path === undefined) return [];
  const sizes: LogSize[] = [];
  for (const number of (await logNumbers(path)).toReversed()) {
    const name = numbered(path, number);
    const found = await stat(name).catch(() => undefined);
    if (found?.isFile()) sizes.push({ path: name, bytes: found.size, isCurrent: number === 0 });
  }
  return sizes;
}

/**
 * Removes the files of a log, the oldest first.
 * @param keepCurrent leaves the one that is written to
 * @returns the bytes that were freed @throws Error of the file system
 */
export async function removeLogs(uri: string, keepCurrent: boolean): Promise<number> {
  let freed = 0;
  for (const { path, bytes, isCurrent } of await logSizes(uri)) {
    if (isCurrent && keepCurrent) continue;
    await unlink(path).catch(ignoreMissing);
    freed += bytes;
  }
  const path = logPathOf(uri);
  if (path !== undefined && !keepCurrent) await unlink(`${path}.dropped`).catch(ignoreMissing);
  return freed;
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

/** What a log has lost because it could not be written (a full disk). Times are RFC 3339. */
export interface LogLoss {
  readonly bytes: number;
  readonly first: string;
  readonly last: string;
  readonly error: string;
}

/** What the shim has noted as lost; undefined when nothing was. */
export async function lossOf(uri: string): Promise<LogLoss | undefined> {
  const path = logPathOf(uri);
  if (path === undefined) return undefined;
  try {
    const { bytes, first, last, error } = JSON.parse(await readFile(`${path}.dropped`, "utf8")) as Partial<LogLoss>;
    if (!Number.isSafeInteger(bytes)) return undefined;
    return { bytes: bytes ?? 0, first: String(first ?? ""), last: String(last ?? ""), error: String(error ?? "") };
  } catch {
    return undefined;
  }
}

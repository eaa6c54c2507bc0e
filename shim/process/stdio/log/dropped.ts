/**
 * What a log has lost, beside it: `NAME.dropped`, JSON, which is there only when something was lost. The daemon shows it,
 * and the next shim of the container goes on counting.
 */

import { messageOf } from "../../../../proto/errdefs.ts";
import { readFileIfExists, replaceFile } from "../../../linux/file.ts";
import { log } from "../../../log.ts";

/** The content of the file. Times are RFC 3339. */
export interface Dropped {
  /** Bytes of output that could not be written, since the log exists. */
  readonly bytes: number;
  readonly first: string;
  readonly last: string;
  /** Why, the last time. */
  readonly error: string;
}

const LIMIT = 4096;
const MODE = 0o640;

/** Where the losses of a log are noted. */
export const droppedPath = (path: string): string => `${path}.dropped`;

/** Adds a loss to what is noted. The disk may be full for this too: then it is noted with the next. @returns false then */
export function noteDropped(path: string, bytes: number, error: string): boolean {
  const now = new Date().toISOString();
  try {
    const before = read(path);
    const note: Dropped = { bytes: (before?.bytes ?? 0) + bytes, first: before?.first ?? now, last: now, error };
    replaceFile(droppedPath(path), `${JSON.stringify(note)}\n`, MODE);
    return true;
  } catch (failure) {
    log.debug(`note what ${path} has lost: ${messageOf(failure)}`);
    return false;
  }
}

function read(path: string): Partial<Dropped> | undefined {
  try {
    const text = readFileIfExists(droppedPath(path), LIMIT);
    const note: unknown = text === undefined ? undefined : JSON.parse(text);
    return typeof note === "object" && note !== null && Number.isSafeInteger((note as Dropped).bytes)
      ? note
      : undefined;
  } catch {
    // Whatever lies there is no note of ours.
    return undefined;
  }
}

/** The end of a container's log, as the page shows it. */

import { logPathOf, tailOf } from "../logs/uri.ts";

/** One line. */
export interface LogLine {
  /** As the log has it; empty for a log without times. */
  readonly time: string;
  /** stdout, stderr; empty for a log that does not tell. */
  readonly stream: string;
  readonly text: string;
}

/** Longest line that is shown. */
const MAX_LINE = 4096;
const decoder = new TextDecoder();

/**
 * The last lines of a log as a shim writes it: JSON, the CRI's text, or raw; over its renamed files.
 * @param uri of the log
 * @throws Error when it is no file, or cannot be read
 */
export async function logTail(uri: string, count: number): Promise<LogLine[]> {
  if (logPathOf(uri) === undefined) throw new Error(`the log ${uri} is no file`);
  const entries = await tailOf(uri, count);
  return entries.map(({ time, stream, text }) => ({
    time,
    // An entry without a time is of a raw log, which does not tell the streams apart.
    stream: time === "" ? "" : stream,
    text: decoder.decode(text).replace(/\n$/, "").slice(0, MAX_LINE),
  }));
}

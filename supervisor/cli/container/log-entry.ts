/** Entries of a container's log: docker's JSON lines, CRI's text, or plain lines. A line that is none of its format is plain. */

/** One line of output, or a part of one. */
export interface LogEntry {
  /** As it was written, with nanoseconds; undefined where the log does not say. */
  readonly time: string | undefined;
  readonly stream: "stdout" | "stderr";
  /** With its newline, if it has one. */
  readonly text: string;
}

export type LogFormat = "json" | "cri" | "raw";

/** Reads a line of a log file. @param line without its newline */
export function entryOf(line: string, format: LogFormat): LogEntry {
  const plain: LogEntry = { time: undefined, stream: "stdout", text: `${line}\n` };
  if (format === "cri") {
    const [, time, stream, kind, text = ""] = /^(\S+) (stdout|stderr) ([FP])(?: (.*))?$/s.exec(line) ?? [];
    if (time === undefined) return plain;
    return { time, stream: stream === "stderr" ? "stderr" : "stdout", text: kind === "F" ? `${text}\n` : text };
  }
  if (format === "raw" || !line.startsWith("{")) return plain;
  try {
    const { log, stream, time } = JSON.parse(line) as Record<string, unknown>;
    if (typeof log !== "string" || typeof time !== "string") return plain;
    return { time, stream: stream === "stderr" ? "stderr" : "stdout", text: log };
  } catch {
    // What a power cut has left of a line, or a shim that knows no formats.
    return plain;
  }
}

/** True when an entry is of the time that is asked for; one without a time always is. */
export function isWithin({ time }: LogEntry, since: Date | undefined, until: Date | undefined): boolean {
  const at = time === undefined ? Number.NaN : Date.parse(time);
  if (Number.isNaN(at)) return true;
  return (since === undefined || at >= since.getTime()) && (until === undefined || at <= until.getTime());
}

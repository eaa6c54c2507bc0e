/** One entry of a log, whatever its format. */

/** How a log is written; `any`: each line is looked at. */
export type LogFormat = "json" | "cri" | "raw" | "any";

/** A line of output, or a part of one. */
export interface LogEntry {
  readonly stream: "stdout" | "stderr";
  /** RFC 3339; empty where the log has none. */
  readonly time: string;
  /** The output itself; a whole line ends with a newline. */
  readonly text: Uint8Array;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const BRACE = "{".charCodeAt(0);
const NEWLINE = 10;
/** Where the text of a CRI entry begins at the latest. */
const HEADER_BYTES = 80;
const criHeader = /^(\d{4}-\d\d-\d\dT[\d:.]{8,20}(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP])(?::[A-Z:]*)? /;

/**
 * Reads a line of a log. One that is not of the format, such as half an entry from before a power cut, is taken as raw.
 * @param line with its newline, if it has one
 */
export function parseEntry(line: Uint8Array, format: LogFormat): LogEntry {
  if (format !== "raw") {
    const entry = (format !== "cri" ? jsonEntry(line) : undefined) ?? (format !== "json" ? criEntry(line) : undefined);
    if (entry !== undefined) return entry;
  }
  return { stream: "stdout", time: "", text: line };
}

function jsonEntry(line: Uint8Array): LogEntry | undefined {
  if (line[0] !== BRACE) return undefined;
  try {
    const { log, stream, time } = JSON.parse(decoder.decode(line)) as Record<string, unknown>;
    if (typeof log !== "string" || typeof time !== "string") return undefined;
    return { stream: stream === "stderr" ? "stderr" : "stdout", time, text: encoder.encode(log) };
  } catch {
    return undefined;
  }
}

function criEntry(line: Uint8Array): LogEntry | undefined {
  const [header, time = "", stream, tag] = criHeader.exec(decoder.decode(line.subarray(0, HEADER_BYTES))) ?? [];
  if (header === undefined) return undefined;
  // The header is ASCII, so that its length is that of its bytes.
  const hasNewline = line.at(-1) === NEWLINE;
  const text = line.subarray(header.length, tag === "P" && hasNewline ? -1 : undefined);
  return { stream: stream === "stderr" ? "stderr" : "stdout", time, text };
}

/** True when more of the same line follows. */
export const isPart = (entry: LogEntry): boolean => entry.text.at(-1) !== NEWLINE;

/** True for an entry of a span of time (milliseconds since the epoch); one without a time is of every span. */
export function isWanted(
  { time }: LogEntry,
  { since, until }: { readonly since?: number | undefined; readonly until?: number | undefined },
): boolean {
  if (time === "" || (since === undefined && until === undefined)) return true;
  const at = Date.parse(time);
  return Number.isNaN(at) || ((since === undefined || at >= since) && (until === undefined || at <= until));
}

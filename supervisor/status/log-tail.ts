/** The end of a container's log. */

import { open } from "node:fs/promises";

/** One line. */
export interface LogLine {
  /** As the log has it; empty for a log without times. */
  readonly time: string;
  /** stdout, stderr; empty for a log that does not tell. */
  readonly stream: string;
  readonly text: string;
}

/** Bytes that are read from the end. */
const MAX_BYTES = 256 << 10;
/** Longest line that is shown. */
const MAX_LINE = 4096;

/**
 * The last lines of a log as a shim writes it: JSON, the CRI's text, or raw.
 * @param uri of the log
 * @throws Error when it is no file, or cannot be read
 */
export async function logTail(uri: string, count: number): Promise<LogLine[]> {
  const url = new URL(uri);
  if (url.protocol !== "file:") throw new Error(`the log ${uri} is no file`);
  const format = url.searchParams.get("format") ?? "raw";
  const text = await endOf(decodeURIComponent(url.pathname));
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.slice(-count).map((line) => parse(format, line));
}

async function endOf(path: string): Promise<string> {
  const file = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (file === undefined) return "";
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new Error(`${path} is no file`);
    const bytes = Buffer.alloc(Math.min(MAX_BYTES, status.size));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, status.size - bytes.length);
    const text = bytes.subarray(0, bytesRead).toString("utf8");
    // The first line is only the end of one.
    return bytes.length < status.size ? text.slice(text.indexOf("\n") + 1) : text;
  } finally {
    await file.close();
  }
}

function parse(format: string, line: string): LogLine {
  if (format === "json") {
    try {
      const { log, stream, time } = JSON.parse(line) as Record<string, unknown>;
      if (typeof log === "string") return made(String(time ?? ""), String(stream ?? ""), log.replace(/\n$/, ""));
    } catch {
      // A line that is being written, or is none of ours: it is shown as it is.
    }
  }
  const cri = format === "cri" ? /^(\S+) (stdout|stderr) [FP] (.*)$/s.exec(line) : null;
  return cri ? made(cri[1] ?? "", cri[2] ?? "", cri[3] ?? "") : made("", "", line);
}

function made(time: string, stream: string, text: string): LogLine {
  return { time, stream, text: text.slice(0, MAX_LINE) };
}

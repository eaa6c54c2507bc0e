/**
 * What a shim logs: it writes lines into the FIFO `log` of its bundle, which go into the daemon's own log. The FIFO is
 * open for writing here too, so it never ends by itself, and a daemon that comes later finds it as it was.
 */

import { byteReader, close, makeFifo, O, open } from "../../shim/linux/index.ts";

/** A line of a shim as logrus writes it, taken apart. */
export interface ShimLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

const levels: Readonly<Record<string, ShimLine["level"]>> = {
  trace: "debug",
  debug: "debug",
  warn: "warn",
  warning: "warn",
  error: "error",
  fatal: "error",
  panic: "error",
};
const field = /([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|\S*)/g;

/** Takes a line apart; one that is not of `key=value` is all message. */
export function parseShimLine(text: string): ShimLine {
  const fields: Record<string, string> = {};
  for (const [, name = "", value = ""] of text.matchAll(field)) fields[`${name}`] = unquoted(value);
  const { level = "", msg, time: _time, ...rest } = fields;
  if (msg === undefined) return { level: "info", message: text, fields: {} };
  return { level: levels[level] ?? "info", message: msg, fields: rest };
}

function unquoted(text: string): string {
  if (!text.startsWith('"')) return text;
  try {
    return String(JSON.parse(text));
  } catch {
    return text.slice(1, -1);
  }
}

/** Longest line, in bytes; what is longer is cut into several. */
const MAX_LINE = 16 << 10;

/**
 * Opens the FIFO at `path`, which is made when it is not there, and passes each line on.
 * @returns the function that stops it
 * @throws Error when it can be neither made nor opened
 */
export function readShimLog(path: string, line: (text: string) => void): () => void {
  makeFifo(path, 0o700);
  const fd = open(path, O.RDWR | O.NONBLOCK | O.NOFOLLOW);
  const reader = byteReader(fd);
  let stopped = false;
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    void reader.cancel().catch(() => undefined);
    close(fd);
  };
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    let rest = "";
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done || stopped) break;
        const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
        rest = lines.pop() ?? "";
        for (const text of lines) if (text !== "") line(text.slice(0, MAX_LINE));
        if (rest.length > MAX_LINE) {
          line(rest.slice(0, MAX_LINE));
          rest = "";
        }
      }
    } catch {
      // Nothing can be read any more: the shim drops its lines then.
    }
    stop();
    if (rest !== "") line(rest.slice(0, MAX_LINE));
  };
  void read();
  return stop;
}

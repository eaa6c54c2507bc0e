/**
 * The shim's log: logrus text lines, as containerd's own shim writes them, on the `log` FIFO of the bundle.
 *
 * A line is written without waiting: when containerd is down and the FIFO is full, it is dropped and counted, and the
 * shim goes on (PR-8, R18).
 */

import { close, O, open, writeSome } from "./linux/file.ts";

const levels = { debug: 0, info: 1, warn: 2, error: 3 } as const;

/** Levels of a log line; `warn` is written as logrus writes it, "warning". */
export type Level = keyof typeof levels;

const encoder = new TextEncoder();

class Log {
  #fd = -1;
  #least: Level = "info";
  #dropped = 0;
  #context = "";
  /** The last line did not fit as a whole, and its end is missing. */
  #torn = false;

  /** Lines below this level are not written. */
  set level(level: Level) {
    this.#least = level;
  }

  /**
   * Opens the log FIFO; without one, lines go nowhere. It is opened for reading too, so that a restart of containerd,
   * its reader, neither ends nor breaks it.
   */
  open(path: string, context: Readonly<Record<string, string>>): void {
    this.#context = format(context);
    try {
      this.#fd = open(path, O.RDWR | O.NONBLOCK);
    } catch {
      this.#fd = -1;
    }
  }

  close(): void {
    close(this.#fd);
    this.#fd = -1;
  }

  debug(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("debug", message, fields);
  }

  info(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("info", message, fields);
  }

  warn(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("warn", message, fields);
  }

  error(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("error", message, fields);
  }

  #write(level: Level, message: string, fields: Readonly<Record<string, unknown>> | undefined): void {
    if (this.#fd < 0 || levels[level] < levels[this.#least]) return;
    if (this.#dropped > 0) {
      const lost = line("warn", `${this.#dropped} log lines were dropped: nobody read the log`, this.#context);
      if (!this.#put(lost)) {
        this.#dropped++;
        return;
      }
      this.#dropped = 0;
    }
    if (!this.#put(line(level, message, this.#context + format(fields ?? {})))) this.#dropped++;
  }

  #put(text: string): boolean {
    const bytes = encoder.encode(this.#torn ? `\n${text}` : text);
    try {
      // More than PIPE_BUF bytes may be taken in part.
      const count = writeSome(this.#fd, bytes);
      if (count > 0) this.#torn = count < bytes.length;
      return count === bytes.length;
    } catch {
      // A full disk or a broken pipe must not touch the container (PR-6).
      return false;
    }
  }
}

function line(level: Level, message: string, rest: string): string {
  const name = level === "warn" ? "warning" : level;
  return `time="${new Date().toISOString()}" level=${name} msg=${quote(message)}${rest}\n`;
}

function format(fields: Readonly<Record<string, unknown>>): string {
  return Object.entries(fields)
    .map(([key, value]) => ` ${key}=${value instanceof Error ? quote(value.message) : quoteIfNeeded(String(value))}`)
    .join("");
}

/** logrus leaves values of these characters bare. */
function quoteIfNeeded(text: string): string {
  return /^[A-Za-z0-9\-._/@^+]+$/.test(text) ? text : quote(text);
}

function quote(text: string): string {
  return JSON.stringify(text);
}

/** The log of this process. */
export const log = new Log();

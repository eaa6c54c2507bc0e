/** The daemon's log. */

import { type Fields, formatLine, type Level, levels } from "./line.ts";
import { Sink, type Write, writerOf } from "./sink.ts";

export type { Fields, Level } from "./line.ts";

/** What a room is given to log with. Never throws, never waits; secrets are taken out of what it is given. */
export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

const lost = (count: number): string =>
  formatLine(new Date(), "warn", `${count} log lines were dropped: nobody read the log`);

/** Writes the log of one process. */
export class LogWriter implements Log {
  /** Lines below this level are not written. */
  level: Level;
  readonly #sink: Sink;
  readonly #counts = { debug: 0, info: 0, warn: 0, error: 0 };

  /** @param write where to; stderr when not given */
  constructor(level: Level, write: Write = writerOf(2)) {
    this.level = level;
    this.#sink = new Sink(write);
  }

  debug(message: string, fields?: Fields): void {
    this.#line("debug", message, fields);
  }

  info(message: string, fields?: Fields): void {
    this.#line("info", message, fields);
  }

  warn(message: string, fields?: Fields): void {
    this.#line("warn", message, fields);
  }

  error(message: string, fields?: Fields): void {
    this.#line("error", message, fields);
  }

  /** Lines that were written by level, bytes that wait, and lines dropped. */
  get state(): { lines: Readonly<Record<Level, number>>; queued: number; dropped: number } {
    return { lines: { ...this.#counts }, queued: this.#sink.depth, dropped: this.#sink.dropped };
  }

  /** Writes what can be written now, before an exit. */
  flush(): void {
    this.#sink.flush();
  }

  #line(level: Level, message: string, fields: Fields | undefined): void {
    if (levels[level] < levels[this.level]) return;
    this.#counts[level]++;
    this.#sink.put(formatLine(new Date(), level, message, fields), lost);
  }
}

/** A log that nobody reads, for tests and commands. */
export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

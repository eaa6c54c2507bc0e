/** The sink of a log with settings. It is loaded only where an address asks for one. */

import { timeNow } from "../../../linux/clock.ts";
import type { Sink } from "../sink.ts";
import { LogFile } from "./file.ts";
import type { StreamName } from "./format.ts";
import { Lines } from "./lines.ts";
import { parseSettings } from "./settings.ts";

/** A log that the streams of one or more processes share. */
export interface SharedLog {
  /** The sink of one stream. */
  stream(name: StreamName): Sink;
  /** Closes the file; every sink must have been closed before. */
  close(): void;
}

/** Opens a log. @throws ContainerdError for settings that mean nothing @throws ErrnoError */
export function openLog(path: string, query: string): SharedLog {
  const settings = parseSettings(query, path);
  const file = new LogFile(path, settings);
  return {
    stream: (name) => (settings.format === "raw" ? rawSink(file) : new EntrySink(file, name)),
    close: () => file.close(),
  };
}

function rawSink(file: LogFile): Sink {
  return { write: (bytes) => file.write(bytes, bytes.length), close: () => {} };
}

/** Makes entries of a stream; all that came with one read is written with one call. */
class EntrySink implements Sink {
  readonly #file: LogFile;
  readonly #lines: Lines;
  #entries: Uint8Array[] = [];
  #time = "";

  constructor(file: LogFile, name: StreamName) {
    const { encoding } = file;
    this.#file = file;
    this.#lines = new Lines({
      lines: (bytes) => {
        this.#keep();
        this.#entries.push(encoding.lines(bytes, name, this.#time));
      },
      piece: (bytes) => {
        this.#keep();
        this.#entries.push(encoding.piece(bytes, name, this.#time));
      },
    });
  }

  /** What was encoded last must outlive what comes next. */
  #keep(): void {
    const last = this.#entries.pop();
    if (last !== undefined) this.#entries.push(last.slice());
  }

  write(bytes: Uint8Array): void {
    this.#pass(bytes.length, () => this.#lines.take(bytes));
  }

  close(): void {
    this.#pass(0, () => this.#lines.end());
  }

  #pass(count: number, work: () => void): void {
    const held = this.#lines.held;
    this.#time = timeNow();
    work();
    const entries = this.#entries;
    if (entries.length === 0) return;
    this.#entries = [];
    const [first] = entries;
    this.#file.write(entries.length === 1 && first ? first : joined(entries), held + count - this.#lines.held);
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Reading the log of a container: its last lines, a span of time, and what comes, across renames and restarts. */

import { IN, watchFile } from "../../shim/linux/index.ts";
import { isWanted, type LogEntry, type LogFormat } from "./entry.ts";
import { type LogPart, nearestDirectory, openAll, openSuccessor } from "./files.ts";
import { EntryReader, findLast } from "./lines.ts";

/** What to read. */
export interface ReadOptions {
  /** Only so many lines from the end of what is there. */
  readonly tail?: number | undefined;
  /** Entries before and after these times (milliseconds since the epoch) are left out; raw ones have no time, and stay. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** Goes on with what is written later. */
  readonly follow?: boolean | undefined;
  /** Ends at once. */
  readonly signal?: AbortSignal | undefined;
  /** Nothing more will be written: ends when all that is there has been read. */
  readonly finished?: AbortSignal | undefined;
  /** Files were removed before they could be read: what was in them is missing. */
  readonly onGap?: (() => void) | undefined;
}

/** The log at one path. */
export class LogReader {
  readonly #path: string;
  readonly #format: LogFormat;

  /** @param format `any` where it is not known */
  constructor(path: string, format: LogFormat = "any") {
    this.#path = path;
    this.#format = format;
  }

  /** The entries in their order, in groups as they are read. @throws Error of the file system */
  async *read(options: ReadOptions = {}): AsyncGenerator<readonly LogEntry[]> {
    const { follow = false, signal } = options;
    // Before the first look, so that nothing comes between.
    const waker = follow ? await Waker.open(this.#path, options) : undefined;
    let parts: LogPart[] = [];
    try {
      parts = await openAll(this.#path);
      let at = options.tail === undefined ? 0 : await this.#skipTo(parts, options.tail);
      for (;;) {
        const [part] = parts;
        if (part === undefined) {
          // There is no log yet.
          if (waker === undefined || signal?.aborted || options.finished?.aborted) return;
          await waker.wait(this.#path);
          parts = await openAll(this.#path);
          continue;
        }
        const reader = new EntryReader(part.handle, this.#format, at);
        at = 0;
        for await (const entries of this.#readPart(part, reader, parts.length > 1 ? undefined : waker, options)) {
          const wanted = entries.filter((entry) => isWanted(entry, options));
          if (wanted.length > 0) yield wanted;
          if (signal?.aborted) return;
        }
        if (signal?.aborted) return;
        if (parts.length === 1) {
          const next = waker === undefined ? undefined : await openSuccessor(this.#path, part.identity);
          if (next === undefined) return;
          if (next.isGuess && (await openOlder(this.#path))) options.onGap?.();
          parts.push(next.part);
        }
        parts.shift();
        await part.handle.close();
      }
    } finally {
      waker?.close();
      for (const part of parts) await part.handle.close().catch(() => {});
    }
  }

  /** Leaves out what is before the last lines. @returns where the first file that stays begins to be of interest */
  async #skipTo(parts: LogPart[], tail: number): Promise<number> {
    let left = tail;
    for (let index = parts.length - 1; index >= 0; index--) {
      const { handle } = parts[index] as LogPart;
      const { size } = await handle.stat();
      const found = await findLast(handle, this.#format, size, left, index === parts.length - 1);
      left = found.left;
      if (!found.isWhole) continue;
      for (const part of parts.splice(0, index)) await part.handle.close();
      return found.at;
    }
    return 0;
  }

  /** One file to its end: with a waker until it has a successor, or nothing more will come. */
  async *#readPart(
    part: LogPart,
    reader: EntryReader,
    waker: Waker | undefined,
    { signal, finished }: ReadOptions,
  ): AsyncGenerator<LogEntry[]> {
    for (;;) {
      const isLast = waker === undefined || (finished?.aborted ?? false) || (await waker.isReplaced(this.#path, part));
      for (let entries = await reader.next(); entries !== undefined; entries = await reader.next()) {
        yield entries;
        if (signal?.aborted) return;
      }
      if (isLast) break;
      if (!(await waker.isReplaced(this.#path, part))) await waker.wait(this.#path);
      if (signal?.aborted) return;
    }
    yield reader.rest();
  }
}

/** True when there are older files than the newest: then the one that was read had not to be the last of them. */
async function openOlder(path: string): Promise<boolean> {
  const parts = await openAll(path);
  for (const part of parts) await part.handle.close();
  return parts.length > 1;
}

/** Sleeps until something happens in the directory of a log. */
class Waker {
  #watch: { close(): void } | undefined;
  #directory = "";
  /** Something has happened since the last wait. */
  #stirred = false;
  #wake: (() => void) | undefined;
  readonly #stir = (): void => {
    this.#stirred = true;
    this.#wake?.();
  };
  readonly #signals: readonly AbortSignal[];

  private constructor(signals: readonly AbortSignal[]) {
    this.#signals = signals;
    for (const signal of signals) signal.addEventListener("abort", this.#stir);
  }

  static async open(path: string, { signal, finished }: ReadOptions): Promise<Waker> {
    const waker = new Waker([signal, finished].filter((one) => one !== undefined));
    await waker.#watchNearest(path);
    return waker;
  }

  /** Resolves at the next event, or at once when there was one since the last wait. */
  async wait(path: string): Promise<void> {
    await this.#watchNearest(path);
    if (!this.#stirred && !this.#signals.some(({ aborted }) => aborted)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#wake = undefined;
    this.#stirred = false;
  }

  async isReplaced(path: string, part: LogPart): Promise<boolean> {
    const next = await openSuccessor(path, part.identity);
    await next?.part.handle.close();
    return next !== undefined;
  }

  close(): void {
    for (const signal of this.#signals) signal.removeEventListener("abort", this.#stir);
    this.#watch?.close();
    this.#watch = undefined;
  }

  async #watchNearest(path: string): Promise<void> {
    const directory = await nearestDirectory(path);
    if (directory === this.#directory) return;
    const before = this.#watch;
    this.#watch = watchFile(directory, IN.MODIFY | IN.CREATE | IN.MOVED_TO | IN.MOVED_FROM | IN.DELETE, this.#stir);
    this.#directory = directory;
    before?.close();
    // What happened before there was a watch is looked at once more.
    this.#stirred = true;
  }
}

/**
 * Copies what a process writes, where its output cannot be handed over: a terminal, an exec (whose children may outlive
 * it and hold the pipe, R16), a log file (which may be full, R14).
 */

import { deadlines } from "../../../proto/deadlines.ts";
import { invalidArgument, messageOf } from "../../../proto/errdefs.ts";
import { ErrnoError, isErrno } from "../../linux/errno.ts";
import {
  close,
  fileType,
  makeDirectories,
  O,
  open,
  pathOfOpen,
  readInto,
  unreadBytes,
  writeSome,
} from "../../linux/file.ts";
import { type ByteReader, byteReader } from "../../linux/stream.ts";
import { log } from "../../log.ts";

/** Where copied bytes go. */
export interface Sink {
  /** When it answers a promise, more may come once that has resolved; it never rejects. */
  write(bytes: Uint8Array): unknown;
  /** Gives up a write that has not come to its end, because nobody takes the bytes. */
  abort?(): void;
  close(): void;
}

/** How much room at a time is made for a write that is given up, and how often at most. */
const ROOM_BYTES = 1 << 16;
const ROOM_TURNS = 100;

/** A sink that writes to a descriptor that may fill up: a FIFO, a pipe, a terminal. The descriptor is not closed. */
export function pipeSink(fd: number): Sink {
  const sink = Bun.file(fd).writer();
  let broken = false;
  let writing = false;
  const settle = (write: Promise<unknown>) => {
    writing = true;
    return write.catch(fail).finally(() => {
      writing = false;
    });
  };
  // Bun's writer cannot be told to stop, and has a descriptor of its own that keeps the pipe open: readers would never
  // see the end. So the pipe is read until the write has found room.
  const makeRoom = async () => {
    const path = pathOfOpen(fd);
    if (fileType(path) !== "fifo") return;
    const reader = open(path, O.RDONLY | O.NONBLOCK);
    const room = new Uint8Array(ROOM_BYTES);
    try {
      for (let turn = 0; writing && turn < ROOM_TURNS; turn++) {
        readInto(reader, room);
        await Bun.sleep(1);
      }
    } finally {
      close(reader);
    }
  };
  const fail = (error: unknown) => {
    if (!broken) log.debug(`write to a stream of a process: ${messageOf(error)}`);
    broken = true;
  };
  return {
    write(bytes) {
      if (broken) return undefined;
      try {
        const written = sink.write(bytes);
        const flushed = sink.flush();
        if (written instanceof Promise) return settle(written);
        if (flushed instanceof Promise) return settle(flushed);
      } catch (error) {
        fail(error);
      }
      return undefined;
    },
    abort() {
      broken = true;
      if (writing) makeRoom().catch(fail);
    },
    close() {
      try {
        const ended = sink.end();
        if (ended instanceof Promise) ended.catch(fail);
      } catch (error) {
        fail(error);
      }
    },
  };
}

const EAGAIN = 11;
/** How often at most, in milliseconds, a log file that cannot be written is spoken of. */
const COMPLAINT_PAUSE = 60_000;

/**
 * A log file. A write that fails (a full disk, a quota) is counted and the next one tried again, so the container goes
 * on and the log resumes when there is space.
 */
class FileSink implements Sink {
  readonly #path: string;
  readonly #fd: number;
  #users = 0;
  #dropped = 0;
  #complained = Number.NEGATIVE_INFINITY;
  #reported = Number.NEGATIVE_INFINITY;

  constructor(path: string) {
    this.#path = path;
    makeDirectories(path.slice(0, path.lastIndexOf("/")), 0o755);
    const type = fileType(path);
    if (type === "fifo" || type === "socket") throw invalidArgument(`log file ${path} is a ${type}, not a file`);
    // Whatever lies there by now, opening it must not stop the event loop (PR-7).
    this.#fd = open(path, O.WRONLY | O.APPEND | O.CREAT | O.NONBLOCK, 0o644);
  }

  share(): this {
    this.#users++;
    return this;
  }

  write(bytes: Uint8Array): void {
    let at = 0;
    try {
      while (at < bytes.length) {
        const count = writeSome(this.#fd, bytes.subarray(at));
        if (count <= 0) throw new ErrnoError(EAGAIN, "write", this.#path);
        at += count;
      }
      // A disk that is full at every other write must not fill the shim's own log.
      if (this.#dropped > 0 && performance.now() - this.#reported > COMPLAINT_PAUSE) this.#report();
    } catch (error) {
      this.#dropped += bytes.length - at;
      if (performance.now() - this.#complained > COMPLAINT_PAUSE) {
        this.#complained = performance.now();
        log.error(`log file ${this.#path}: ${messageOf(error)}; output is dropped until it can be written again`);
      }
    }
  }

  close(): void {
    if (--this.#users > 0) return;
    if (this.#dropped > 0) this.#report();
    close(this.#fd);
  }

  #report(): void {
    log.warn(`dropped ${this.#dropped} bytes that could not be written to log file ${this.#path}`);
    this.#dropped = 0;
    this.#reported = performance.now();
  }
}

/** Opens log files so that stdout and stderr of the same path share one (IO-1). @throws ErrnoError */
export function fileSinks(): (path: string) => Sink {
  const open = new Map<string, FileSink>();
  return (path) => {
    let sink = open.get(path);
    if (sink === undefined) {
      sink = new FileSink(path);
      open.set(path, sink);
    }
    return sink.share();
  };
}

/** A copy from a descriptor of ours to a sink, until the end or until it is stopped. */
export class Copy {
  /** Settles when nothing more will be copied; never rejects. */
  readonly done: Promise<void>;
  readonly #fd: number;
  readonly #reader: ByteReader;
  readonly #sink: Sink;
  /** Bytes that are out of the source and not yet in the sink. */
  #held = 0;
  #ended = false;

  /** @param fd non-blocking; closed at the end, as is the sink */
  constructor(fd: number, sink: Sink) {
    this.#fd = fd;
    this.#sink = sink;
    this.#reader = byteReader(fd);
    this.done = this.#run();
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        const { value, done } = await this.#reader.read();
        if (done || value === undefined) break;
        this.#held = value.length;
        const written = this.#sink.write(value);
        if (written instanceof Promise) await written;
        this.#held = 0;
      }
    } catch (error) {
      // EIO is how a terminal ends when its last user has closed it.
      if (!isEnd(error)) log.debug(`copy of output: ${messageOf(error)}`);
    } finally {
      this.#ended = true;
      this.#sink.close();
      close(this.#fd);
    }
  }

  /** Bytes that the process has written and the sink has not got. */
  get unread(): number {
    return this.#ended ? 0 : unreadBytes(this.#fd) + this.#held;
  }

  /** Stops copying; what is still in the pipe is lost. */
  stop(): void {
    this.#reader.cancel().catch(() => {});
    this.#sink.abort?.();
  }
}

function isEnd(error: unknown): boolean {
  return isErrno(error, "EIO") || (error instanceof Error && "code" in error && error.code === "EIO");
}

/** Waits for copies to end, at most as long as Delete may wait (IO-5), then stops them. */
export async function drain(copies: readonly Copy[], limit: number = deadlines.drain): Promise<void> {
  const all = Promise.all(copies.map((copy) => copy.done));
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), limit);
  });
  if ((await Promise.race([all, late])) === "late") {
    log.warn(`output is still open after ${limit / 1000} s, probably held by a child of the process: it is cut off`);
    for (const copy of copies) copy.stop();
  }
  clearTimeout(timer);
}

/**
 * Copies what a process writes, where its output cannot be handed over: a terminal, an exec (whose children may outlive
 * it and hold the pipe, R16), a log file (which may be full, R14).
 */

import { deadlines } from "../../../proto/deadlines.ts";
import { messageOf } from "../../../proto/errdefs.ts";
import { isErrno } from "../../linux/errno.ts";
import { close, fileType, O, open, pathOfOpen, readInto, unreadBytes } from "../../linux/file.ts";
import { type ByteReader, byteReader } from "../../linux/stream.ts";
import { log } from "../../log.ts";
import type { Sink } from "./sink.ts";

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

/** A copy that goes on by itself. */
export interface Copying {
  /** Settles when nothing more will be copied; never rejects. */
  readonly done: Promise<void>;
  /** Bytes that the process has written and the sink has not got. */
  readonly unread: number;
  /** Stops copying; what is still in the pipe is lost. */
  stop(): void;
}

/** A copy from a descriptor of ours to a sink, until the end or until it is stopped. */
export class Copy implements Copying {
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

  get unread(): number {
    return this.#ended ? 0 : unreadBytes(this.#fd) + this.#held;
  }

  stop(): void {
    this.#reader.cancel().catch(() => {});
    this.#sink.abort?.();
  }
}

function isEnd(error: unknown): boolean {
  return isErrno(error, "EIO") || (error instanceof Error && "code" in error && error.code === "EIO");
}

/** Waits for copies to end, at most as long as Delete may wait (IO-5), then stops them. */
export async function drain(copies: readonly Copying[], limit: number = deadlines.drain): Promise<void> {
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

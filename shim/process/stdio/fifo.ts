/**
 * FIFOs of a client, held at both ends (IO-2).
 *
 * An output FIFO is opened for writing first, which succeeds only when somebody reads it: so no output can be lost to a
 * reader that is not there yet (R17). Then it is opened for reading too, so that a reader that goes away gives the
 * container no SIGPIPE, and its successor finds what was written. When all writers are gone, readers see the end by
 * themselves. Should the reader vanish while the container writes, we read in its place and count what is thrown away,
 * so that the container goes on (R15).
 */

import { deadlineExceeded, messageOf, unknown } from "../../../proto/errdefs.ts";
import { isErrno } from "../../linux/errno.ts";
import { close, duplicate, O, open, pathOfOpen, setNonBlocking, setPipeSize, unreadBytes } from "../../linux/file.ts";
import { IN, type Watch, watchFile } from "../../linux/inotify.ts";
import { countReaders, hasWriters } from "../../linux/readers.ts";
import { type ByteReader, byteReader } from "../../linux/stream.ts";
import { log } from "../../log.ts";
import { stdioLimit } from "./limit.ts";

/** A larger pipe lets writer and reader work in longer turns; it is what an unprivileged user may ask for. */
const PIPE_BYTES = 1 << 20;
/**
 * A container that opens its /dev/stdout in a loop must not make us look for readers as often: each look that finds
 * nothing new doubles the pause before the next, up to this.
 */
const LONGEST_RESCAN_PAUSE = 1_000;

/** An output FIFO of a client. */
export class OutputFifo {
  readonly path: string;
  readonly #label: string;
  /** Our own read end. */
  readonly #reader: number;
  #writer: number;
  #watch: Watch | undefined;
  #drain: { fd: number; stream: ByteReader } | undefined;
  #dropped = 0;
  /** We read in the place of a reader that has gone, or have stood aside for a moment. */
  #standsIn = false;
  #rescanning = false;
  /** Something happened since the last look began. */
  #stale = false;
  #closed = false;

  private constructor(path: string, label: string, writer: number, reader: number) {
    this.path = path;
    this.#label = label;
    this.#writer = writer;
    this.#reader = reader;
    setPipeSize(writer, PIPE_BYTES);
    this.#listen(IN.CLOSE_NOWRITE, this.#onReaderGone);
  }

  /**
   * Opens a FIFO once somebody reads it.
   * @param label names the stream in log lines and errors, such as "stdout of web"
   * @throws ContainerdError when it is missing or nobody reads it in time (T-CRE-8)
   */
  static async open(path: string, label: string, signal?: AbortSignal): Promise<OutputFifo> {
    const limit = stdioLimit();
    const end = performance.now() + limit;
    for (let pause = 1; ; pause = Math.min(pause * 2, 250)) {
      let writer: number;
      try {
        writer = open(path, O.WRONLY | O.NONBLOCK);
      } catch (error) {
        if (!isErrno(error, "ENXIO")) throw unknown(`open ${label}: ${messageOf(error)}`, error);
        if (performance.now() >= end || signal?.aborted) {
          throw deadlineExceeded(`open ${label}: nobody reads ${path} after ${limit / 1000} s`);
        }
        await Bun.sleep(pause);
        continue;
      }
      try {
        return new OutputFifo(path, label, writer, open(path, O.RDONLY | O.NONBLOCK));
      } catch (error) {
        close(writer);
        throw unknown(`open ${label}: ${messageOf(error)}`, error);
      }
    }
  }

  /** The write end as the container gets it: blocking. It is closed by {@link releaseWriter}. */
  handOver(): number {
    setNonBlocking(this.#writer, false);
    return this.#writer;
  }

  /** Our own write end, non-blocking, for a copy. */
  get writer(): number {
    return this.#writer;
  }

  /** Closes our write end: from now on readers see the end when the container's last writer is gone. */
  releaseWriter(): void {
    close(this.#writer);
    this.#writer = -1;
  }

  /** Bytes that the process has written and nobody has read. */
  get unread(): number {
    return this.#closed ? 0 : unreadBytes(this.#reader);
  }

  /** Lets go of the FIFO. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch?.close();
    this.releaseWriter();
    this.#stopDraining();
    close(this.#reader);
  }

  #listen(mask: number, onEvent: (mask: number) => void): void {
    const before = this.#watch;
    this.#watch = undefined;
    try {
      // By our descriptor: clients remove the FIFO's name while it is read (ctr does when it ends).
      this.#watch = watchFile(pathOfOpen(this.#reader), mask, onEvent);
    } catch (error) {
      // Without a watch (no inotify instance left) only the service for vanished readers is lost.
      log.warn(`cannot watch ${this.#label}: ${messageOf(error)}`);
    }
    // Only now, so that there is no moment without a watch.
    before?.close();
  }

  /**
   * Some reader has gone. A process that writes nothing needs nobody in its place, so the search for other readers waits
   * until it does: fifty containers whose client leaves at once do not each search /proc.
   */
  readonly #onReaderGone = (): void => {
    if (this.#closed) return;
    if (this.unread === 0) this.#listen(IN.CLOSE_NOWRITE | IN.MODIFY, this.#onDoubt);
    // Also what was written before the watch for it was there.
    if (this.unread > 0) void this.#rescan();
  };

  /** Who opens the FIFO may be a reader: we stand aside at once, before we know, so that nothing of his is taken. */
  readonly #onDoubt = (mask: number): void => {
    if ((mask & IN.OPEN) !== 0) this.#standAside();
    void this.#rescan();
  };

  /** Finds out whether somebody still reads, and takes or gives back the reader's place; an event is never missed. */
  async #rescan(): Promise<void> {
    // A reader that goes because it has read the end is nobody to stand in for, and the usual way of a container's end.
    if (this.#closed || !hasWriters(this.#reader)) return;
    this.#stale = true;
    if (this.#rescanning) return;
    this.#rescanning = true;
    for (let pause = 10; this.#stale && !this.#closed; ) {
      this.#stale = false;
      // Before the look, which can take long: nothing may be taken from a reader that comes during it.
      if (this.#drain === undefined) this.#listen(IN.CLOSE_NOWRITE | IN.OPEN, this.#onDoubt);
      const readers = await countReaders(this.#reader);
      // An opening that was not told yet is so within a turn of the event loop.
      if (readers === 0) await Bun.sleep(1);
      if (this.#closed) break;
      // Who came while we counted may have been passed over.
      if (readers === 0 && this.#drain === undefined && !this.#stale) void this.#startDraining();
      else if (readers > 0 && (this.#standsIn || !this.#stale)) {
        this.#stopDraining();
        this.#listen(IN.CLOSE_NOWRITE, this.#onReaderGone);
      } else {
        await Bun.sleep(pause);
        pause = Math.min(pause * 2, LONGEST_RESCAN_PAUSE);
      }
    }
    this.#rescanning = false;
  }

  async #startDraining(): Promise<void> {
    const fd = duplicate(this.#reader);
    const stream = byteReader(fd);
    this.#drain = { fd, stream };
    if (!this.#standsIn) log.info(`nobody reads ${this.#label} any more: its output is dropped until somebody does`);
    this.#standsIn = true;
    try {
      for (;;) {
        const { value, done } = await stream.read();
        if (done) return;
        this.#dropped += value.byteLength;
      }
    } catch (error) {
      log.debug(`drain ${this.#label}: ${messageOf(error)}`);
    }
  }

  /** Reads no more for now. */
  #standAside(): void {
    const drain = this.#drain;
    if (drain === undefined) return;
    this.#drain = undefined;
    void drain.stream.cancel().finally(() => close(drain.fd));
  }

  /** Gives the reader's place back. */
  #stopDraining(): void {
    this.#standAside();
    this.#standsIn = false;
    if (this.#dropped > 0) log.warn(`dropped ${this.#dropped} bytes of ${this.#label}: nobody read ${this.path}`);
    this.#dropped = 0;
  }
}

/**
 * The input FIFO of a client. Our own write end keeps it from ending when a client goes away: the end comes by CloseIO
 * (IO-6).
 */
export class InputFifo {
  #keep: number;
  #reader: number;

  /** @throws ContainerdError when the FIFO is missing */
  constructor(path: string, label: string) {
    try {
      this.#keep = open(path, O.RDWR | O.NONBLOCK);
    } catch (error) {
      throw unknown(`open ${label}: ${messageOf(error)}`, error);
    }
    try {
      this.#reader = open(path, O.RDONLY | O.NONBLOCK);
    } catch (error) {
      close(this.#keep);
      throw unknown(`open ${label}: ${messageOf(error)}`, error);
    }
  }

  /** The read end, non-blocking, for a copy that closes it. */
  takeReader(): number {
    const reader = this.#reader;
    this.#reader = -1;
    return reader;
  }

  /** Lets the reader see the end once all has been read and no client writes any more. */
  end(): void {
    close(this.#keep);
    this.#keep = -1;
  }

  /** Lets go of the FIFO. */
  close(): void {
    this.end();
    close(this.takeReader());
  }
}

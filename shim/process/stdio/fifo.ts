/**
 * Output FIFOs of a client, held at both ends (IO-2).
 *
 * One is opened for writing first, which succeeds only when somebody reads it: so no output can be lost to a
 * reader that is not there yet (R17). Then it is opened for reading too, so that a reader that goes away gives the
 * container no SIGPIPE, and its successor finds what was written. When all writers are gone, readers see the end by
 * themselves. Should the reader vanish while the container writes, the FIFO fills: what comes last is kept for the next
 * reader, such as a daemon that was restarted, and what is older is thrown away and counted, so that the container goes
 * on (R15).
 */

import { deadlineExceeded, messageOf, unknown } from "../../../proto/errdefs.ts";
import { isErrno } from "../../linux/errno.ts";
import {
  close,
  O,
  open,
  pathOfOpen,
  pipeSize,
  readInto,
  setNonBlocking,
  setPipeSize,
  unreadBytes,
} from "../../linux/file.ts";
import { IN, type Watch, watchFile } from "../../linux/inotify.ts";
import { type Readiness, waitReadable } from "../../linux/readable.ts";
import { countReaders, hasWriters } from "../../linux/readers.ts";
import { log } from "../../log.ts";
import { stdioLimit } from "./limit.ts";

/** A larger pipe lets writer and reader work in longer turns; it is what an unprivileged user may ask for. */
const PIPE_BYTES = 1 << 20;
/**
 * Of what nobody reads at most this part of the pipe is kept. A pipe counts pages, which a writer may leave half empty:
 * with less room than half of it the container could stand still.
 */
const KEPT_PART = 1 / 4;
/** How much of what is kept goes at once when there is more: so that not each byte written is a byte read by us. */
const DISCARDED_PART = 1 / 4;
/**
 * Longest pause between two looks at how full a pipe without a reader is; each that finds room doubles it. Nothing tells
 * when a writer begins to wait for room (inotify and poll tell of a write when it is over).
 */
const LONGEST_ROOM_PAUSE = 500;
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
  /** A write end of ours for as long as nobody reads: without one, who opens the FIFO to read it would wait for it. */
  #keeper = -1;
  #watch: Watch | undefined;
  /** Ends when something is written after a reader has gone. */
  #output: Readiness | undefined;
  /** We see to it that the pipe does not fill, because nobody reads it. */
  #draining = false;
  #makingRoom = false;
  #dropped = 0;
  /** We drain in the place of a reader that has gone, or have stood aside for a moment. */
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

  /** Bytes that the process has written and a reader has still to read; none when there is no reader to wait for. */
  get unread(): number {
    return this.#closed || this.#draining ? 0 : unreadBytes(this.#reader);
  }

  /** Lets go of the FIFO. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch?.close();
    this.#output?.cancel();
    this.releaseWriter();
    // Nobody has it open but us: what is kept ends here.
    if (this.#draining) this.#dropped += unreadBytes(this.#reader);
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
    if (this.#closed || this.#isAtEnd()) return;
    if (this.unread > 0) void this.#rescan();
    else this.#output ??= this.#awaitOutput();
  };

  /** A reader that goes because it has read the end is nobody to stand in for, and the usual way of a container's end. */
  #isAtEnd(): boolean {
    return !hasWriters(this.#reader) && unreadBytes(this.#reader) === 0;
  }

  #awaitOutput(): Readiness | undefined {
    try {
      const wait = waitReadable(this.#reader);
      void wait.ready.then(() => {
        this.#output = undefined;
        if (!this.#closed) void this.#rescan();
      });
      return wait;
    } catch (error) {
      // fs.aio-max-nr is used up: this way is blind to a write that is larger than the pipe.
      log.debug(`wait for ${this.#label}: ${messageOf(error)}`);
      this.#listen(IN.CLOSE_NOWRITE | IN.MODIFY, () => void this.#rescan());
      return undefined;
    }
  }

  /** Who opens the FIFO may be a reader: we stand aside at once, before we know, so that nothing of his is taken. */
  readonly #onDoubt = (mask: number): void => {
    if ((mask & IN.OPEN) !== 0) this.#draining = false;
    void this.#rescan();
  };

  #watchOpenings(): void {
    if (this.#keeper < 0) {
      // With the watch goes what it would tell of our own opening.
      this.#watch?.close();
      this.#watch = undefined;
      try {
        this.#keeper = open(pathOfOpen(this.#reader), O.WRONLY | O.NONBLOCK);
      } catch (error) {
        log.warn(`a reader that comes to ${this.#label} will wait for output: ${messageOf(error)}`);
      }
    }
    this.#listen(IN.CLOSE_NOWRITE | IN.OPEN, this.#onDoubt);
  }

  /** Finds out whether somebody still reads, and takes or gives back the reader's place; an event is never missed. */
  async #rescan(): Promise<void> {
    if (this.#closed || this.#isAtEnd()) return;
    this.#stale = true;
    if (this.#rescanning) return;
    this.#rescanning = true;
    for (let pause = 10; this.#stale && !this.#closed; ) {
      this.#stale = false;
      // Before the look, which can take long: nothing may be taken from a reader that comes during it.
      if (!this.#draining) this.#watchOpenings();
      const readers = await countReaders(this.#reader);
      // An opening that was not told yet is so within a turn of the event loop.
      if (readers === 0) await Bun.sleep(1);
      if (this.#closed) break;
      // Who came while we counted may have been passed over.
      if (readers === 0 && !this.#draining && !this.#stale) this.#startDraining();
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

  #startDraining(): void {
    if (!this.#standsIn) {
      const kept = Math.floor((pipeSize(this.#reader) * KEPT_PART) / 1024);
      log.info(`nobody reads ${this.#label} any more: the last ${kept} KiB of its output are kept until somebody does`);
    }
    this.#standsIn = true;
    this.#draining = true;
    if (!this.#makingRoom) void this.#makeRoom();
  }

  /** Throws away the oldest of what nobody reads, down to what is kept, for as long as nobody reads. */
  async #makeRoom(): Promise<void> {
    this.#makingRoom = true;
    try {
      for (let pause = 0; this.#draining; ) {
        pause = this.#discard() ? 0 : Math.min(pause * 2 + 1, LONGEST_ROOM_PAUSE);
        await Bun.sleep(pause);
      }
    } catch (error) {
      log.warn(`cannot make room in ${this.#label}: ${messageOf(error)}`);
    } finally {
      this.#makingRoom = false;
    }
  }

  /** Discards what is too much, one pipe full at most: then a reader that has come is seen. @returns false if nothing is */
  #discard(): boolean {
    const size = pipeSize(this.#reader);
    const kept = size * KEPT_PART;
    if (unreadBytes(this.#reader) <= kept) return false;
    const room = new Uint8Array(kept * DISCARDED_PART);
    for (let left = size; left > 0 && unreadBytes(this.#reader) > kept; left -= room.length) {
      this.#dropped += Math.max(0, readInto(this.#reader, room));
    }
    return true;
  }

  /** Gives the reader's place back. */
  #stopDraining(): void {
    this.#draining = false;
    this.#standsIn = false;
    close(this.#keeper);
    this.#keeper = -1;
    if (this.#dropped > 0) log.warn(`dropped ${this.#dropped} bytes of ${this.#label}: nobody read ${this.path}`);
    this.#dropped = 0;
  }
}

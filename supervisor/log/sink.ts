/** Where log lines go: a descriptor that may be slow, stuck or gone, and never makes the daemon wait. */

import { fileType, O, open, sendSome, writeSome } from "../../shim/linux/index.ts";

/** Takes bytes without waiting: how many fitted, -1 for none just now. @throws Error when it is broken */
export type Write = (bytes: Uint8Array) => number;

/** Bytes of lines that wait for a slow reader, at most; further lines are dropped and counted. */
const MAX_QUEUED = 1 << 20;
/** How long until a blocked descriptor is tried again; only while lines wait. */
const RETRY_MS = 50;

const encoder = new TextEncoder();

/** Writes lines in order; drops whole lines when too many wait. */
export class Sink {
  readonly #write: Write;
  readonly #queue: Uint8Array[] = [];
  #queued = 0;
  #dropped = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(write: Write) {
    this.#write = write;
  }

  /** Bytes that wait. */
  get depth(): number {
    return this.#queued;
  }

  /** Lines dropped and not yet told of. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Writes a line, or keeps it for later, or drops it.
   * @param lost makes the line that tells how many were dropped
   */
  put(line: string, lost: (count: number) => string): void {
    const bytes = encoder.encode(line);
    if (this.#queued + bytes.length > MAX_QUEUED) {
      this.#dropped++;
      return;
    }
    if (this.#dropped > 0) {
      const told = encoder.encode(lost(this.#dropped));
      this.#dropped = 0;
      this.#push(told);
    }
    this.#push(bytes);
    if (this.#timer === undefined) this.flush();
  }

  /** Writes what the descriptor takes now. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      let count: number;
      try {
        count = this.#write(first);
      } catch {
        // A full disk, a reader that has gone: the line is lost, the daemon is not.
        count = first.length;
        this.#dropped++;
      }
      if (count < first.length) {
        if (count > 0) {
          this.#queue[0] = first.subarray(count);
          this.#queued -= count;
        }
        this.#timer = setTimeout(() => this.flush(), RETRY_MS);
        this.#timer.unref();
        return;
      }
      this.#queue.shift();
      this.#queued -= first.length;
    }
  }

  #push(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    this.#queued += bytes.length;
  }
}

/**
 * A way to write to a descriptor that never waits. Its open file is shared with other processes, so O_NONBLOCK is not
 * set on it: a socket is sent to with a flag, anything else is opened anew.
 */
export function writerOf(fd: number): Write {
  const path = `/proc/self/fd/${fd}`;
  if (fileType(path) === "socket") return (bytes) => sendSome(fd, bytes);
  try {
    const own = open(path, O.WRONLY | O.APPEND | O.NONBLOCK);
    return (bytes) => writeSome(own, bytes);
  } catch {
    return (bytes) => writeSome(fd, bytes);
  }
}

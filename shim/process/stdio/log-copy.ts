/**
 * Copies what a process writes to a log file. The memory that is read into is one for all logs of the shim: what a read
 * brings is in the file before the next.
 */

import { messageOf } from "../../../proto/errdefs.ts";
import { isErrno } from "../../linux/errno.ts";
import { close, readInto, unreadBytes } from "../../linux/file.ts";
import { type Readiness, waitReadable } from "../../linux/readable.ts";
import { log } from "../../log.ts";
import { Copy, type Copying } from "./copy.ts";
import type { Sink } from "./sink.ts";

const BUFFER_BYTES = 128 << 10;
/** Requests are served after so many reads at most. */
const READS_OF_A_TURN = 8;
let buffer: Uint8Array | undefined;

/**
 * Copies from a descriptor of ours to a log, until the end or until it is stopped.
 * @param fd non-blocking; closed at the end, as is the sink
 * @param sink one that has taken the bytes when its write returns
 */
export function copyToLog(fd: number, sink: Sink): Copying {
  try {
    return new LogCopy(fd, sink, waitReadable(fd));
  } catch (error) {
    // A kernel without asynchronous IO, or its limit for the machine: it is only slower then.
    log.debug(`wait for output: ${messageOf(error)}`);
    return new Copy(fd, sink);
  }
}

class LogCopy implements Copying {
  readonly done: Promise<void>;
  readonly #fd: number;
  readonly #sink: Sink;
  #wait: Readiness | undefined;
  #stopped = false;
  #ended = false;

  constructor(fd: number, sink: Sink, wait: Readiness) {
    this.#fd = fd;
    this.#sink = sink;
    this.#wait = wait;
    this.done = this.#run();
  }

  get unread(): number {
    return this.#ended ? 0 : unreadBytes(this.#fd);
  }

  stop(): void {
    this.#stopped = true;
    this.#wait?.cancel();
  }

  async #run(): Promise<void> {
    try {
      while (!this.#stopped) {
        await this.#wait?.ready;
        this.#wait = undefined;
        const rest = this.#stopped ? "end" : this.#turn();
        if (rest === "end") return;
        if (rest === "more") await new Promise((resolve) => setImmediate(resolve));
        else this.#wait = await this.#arm();
      }
    } catch (error) {
      log.debug(`copy of output: ${messageOf(error)}`);
    } finally {
      this.#ended = true;
      this.#sink.close();
      close(this.#fd);
    }
  }

  /** Reads until there is nothing left for now, or others must have their turn. */
  #turn(): "end" | "more" | "empty" {
    buffer ??= new Uint8Array(BUFFER_BYTES);
    try {
      for (let reads = 0; reads < READS_OF_A_TURN; reads++) {
        const count = readInto(this.#fd, buffer);
        if (count === 0) return "end";
        if (count < 0) return "empty";
        this.#sink.write(buffer.subarray(0, count));
      }
      return "more";
    } catch (error) {
      // EIO is how a terminal ends when its last user has closed it.
      if (isErrno(error, "EIO")) return "end";
      throw error;
    }
  }

  /** The machine's limit may be reached for a moment; the output must not stand still for that. */
  async #arm(): Promise<Readiness> {
    for (let pause = 1; ; pause = Math.min(2 * pause, 1_000)) {
      try {
        const wait = waitReadable(this.#fd);
        if (this.#stopped) wait.cancel();
        return wait;
      } catch (error) {
        if (!isErrno(error, "EAGAIN")) throw error;
        await Bun.sleep(pause);
      }
    }
  }
}

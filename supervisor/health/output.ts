/**
 * The output of a check, through a FIFO of its own: nothing grows, whatever it prints, and nothing stays. The daemon holds
 * both ends, so the FIFO never ends by itself; a mark that it writes after the check says that all was read.
 */

import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { byteReader, close, makeFifo, O, open, writeSome } from "../../shim/linux/index.ts";

/** What is kept of the output: its end. */
const KEPT = 4 << 10;
const MARK_BYTES = 16;
/** All that a pipe holds is read in this time, unless the machine stands still. */
const MARK_MS = 1_000;

/** The output of one check. */
export class Output {
  readonly path: string;
  readonly #fd: number;
  readonly #reader: ReturnType<typeof byteReader>;
  readonly #mark = randomBytes(MARK_BYTES);
  readonly #marked = Promise.withResolvers<void>();
  #tail: Uint8Array = new Uint8Array(0);
  #hasMore = false;
  #isClosed = false;

  /** @param path of the FIFO, where nothing is yet @throws ErrnoError when it cannot be made */
  constructor(path: string) {
    this.path = path;
    makeFifo(path, 0o600);
    try {
      this.#fd = open(path, O.RDWR | O.NONBLOCK | O.NOFOLLOW);
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    }
    this.#reader = byteReader(this.#fd);
    void this.#read();
  }

  /** The end of what was printed, when its writer has ended. What still writes after that is not waited for. */
  async take(): Promise<string> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, MARK_MS);
    // A pipe that is full has enough to show.
    if (writeSome(this.#fd, this.#mark) === MARK_BYTES) await Promise.race([this.#marked.promise, late]);
    clearTimeout(timer);
    const text = new TextDecoder().decode(this.#tail.subarray(-KEPT)).replace(/^\uFFFD+/, "");
    return this.#hasMore ? `…${text}` : text;
  }

  /** Lets go of the FIFO. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    void this.#reader.cancel().catch(() => undefined);
    close(this.#fd);
    rmSync(this.path, { force: true });
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const { value, done } = await this.#reader.read();
        if (done || this.#isClosed) return;
        this.#add(value);
        if (this.#tail.length < MARK_BYTES || this.#mark.compare(this.#tail.subarray(-MARK_BYTES)) !== 0) continue;
        this.#tail = this.#tail.subarray(0, -MARK_BYTES);
        this.#marked.resolve();
      }
    } catch {
      // Nothing more can be read.
    }
  }

  #add(chunk: Uint8Array): void {
    const all = Buffer.concat([this.#tail, chunk]);
    const keep = KEPT + MARK_BYTES;
    if (all.length > keep) this.#hasMore = true;
    // A copy: a part of a large chunk would keep all of it.
    this.#tail = all.length > keep ? new Uint8Array(all.subarray(-keep)) : all;
  }
}

/** A client's ends of the FIFOs of a process, as containerd's client holds them (IO-1, IO-2). */

import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { show } from "../assert.ts";
import { until } from "./wait.ts";

/** How a reader reads. */
export interface ReaderOptions {
  /** False: counts the bytes and keeps none. */
  readonly keep?: boolean;
  /** False: reads only when it is asked to, as a client that has got stuck. */
  readonly eager?: boolean;
}

/** Reads what a process writes, all the time, as clients do. Open before Create, and without waiting for a writer. */
export class FifoReader {
  readonly path: string;
  /** All that came so far. */
  text = "";
  /** Bytes that came so far. */
  bytes = 0;
  #fd: number;
  readonly #buffer = new Uint8Array(1 << 16);
  readonly #keep: boolean;
  #timer: Timer | undefined;

  constructor(path: string, { keep = true, eager = true }: ReaderOptions = {}) {
    this.path = path;
    this.#keep = keep;
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (eager) this.#timer = setInterval(() => this.read(), 5);
  }

  /** Takes what is there. @returns true when no writer is left */
  read(): boolean {
    for (;;) {
      let length: number;
      try {
        length = readSync(this.#fd, this.#buffer);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false;
        throw error;
      }
      if (length === 0) return true;
      this.bytes += length;
      if (this.#keep) this.text += new TextDecoder().decode(this.#buffer.subarray(0, length));
    }
  }

  /** Waits until a text has come. @throws Violation */
  async until(expected: string, timeout = 5000): Promise<void> {
    await until(
      `${show(expected)} from the process`,
      () => {
        this.read();
        return this.text.includes(expected);
      },
      { timeout, received: () => show(this.text) },
    );
  }

  /** Waits for the end: no writer has it open any more. To be asked once there has been one. @throws Violation */
  async end(timeout = 5000): Promise<string> {
    await until("the end of the output", () => this.read(), { timeout, received: () => `${show(this.text)}, no end` });
    return this.text;
  }

  close(): void {
    clearInterval(this.#timer);
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** Writes what a process reads. */
export class FifoWriter {
  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Opens the FIFO as soon as somebody reads it. @throws Violation when nobody does */
  static async open(path: string): Promise<FifoWriter> {
    const fd = await until("the shim to open the stdin FIFO for reading", () => {
      try {
        return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENXIO") return undefined;
        throw error;
      }
    });
    return new FifoWriter(fd);
  }

  write(text: string): void {
    writeSync(this.#fd, text);
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

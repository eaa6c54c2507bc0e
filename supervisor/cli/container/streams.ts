/**
 * The streams of a process in a container, as FIFOs in a directory of our own: opened for reading before anything runs, so
 * that not a byte is lost, and removed when they are done with.
 */

import { closeSync, constants, mkdirSync, mkdtempSync, openSync, rmSync, write } from "node:fs";
import { join } from "node:path";
import { byteReader, makeFifo } from "../../../shim/linux/index.ts";
import { FIFO_PREFIX, fifoDirectory } from "../../container/fifos.ts";
import type { TaskStdio } from "../../container/task.ts";

const { O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK } = constants;

/** Which streams there are. */
export interface StreamOptions {
  readonly stdin: boolean;
  /** One stream for both kinds of output. */
  readonly terminal: boolean;
}

/** Takes a piece of output; the next is read when it has been. */
export type Take = (bytes: Uint8Array) => Promise<void>;

/** The FIFOs of one process. */
export class Streams {
  readonly stdio: TaskStdio;
  readonly #directory: string | undefined;
  readonly #readers: { fd: number; hold: number | undefined; take: Take }[] = [];
  readonly #reading: Promise<void>[] = [];
  #input: number | undefined;
  #lastRead = performance.now();

  private constructor(stdio: TaskStdio, directory: string | undefined) {
    this.stdio = stdio;
    this.#directory = directory;
  }

  /** Makes FIFOs, and opens those that output comes from. @throws Error, ErrnoError */
  static make({ stdin, terminal }: StreamOptions, takeOut: Take, takeErr: Take): Streams {
    const parent = fifoDirectory();
    mkdirSync(parent, { recursive: true, mode: 0o711 });
    const directory = mkdtempSync(join(parent, FIFO_PREFIX));
    const path = (name: string): string => join(directory, name);
    const streams = new Streams(
      {
        stdin: stdin ? path("stdin") : "",
        stdout: path("stdout"),
        stderr: terminal ? "" : path("stderr"),
        terminal,
      },
      directory,
    );
    try {
      for (const fifo of [streams.stdio.stdin, streams.stdio.stdout, streams.stdio.stderr]) {
        if (fifo !== "") makeFifo(fifo, 0o600);
      }
      streams.#open(streams.stdio.stdout, takeOut);
      if (!terminal) streams.#open(streams.stdio.stderr, takeErr);
    } catch (error) {
      streams.remove();
      throw error;
    }
    return streams;
  }

  /** Opens the FIFOs of a process that runs. They stay where they are. @throws Error */
  static reopen(stdio: TaskStdio, takeOut: Take, takeErr: Take): Streams {
    const streams = new Streams(stdio, undefined);
    try {
      if (stdio.stdout !== "") streams.#open(stdio.stdout, takeOut);
      if (stdio.stderr !== "" && stdio.stderr !== stdio.stdout) streams.#open(stdio.stderr, takeErr);
    } catch (error) {
      streams.remove();
      throw error;
    }
    return streams;
  }

  #open(path: string, take: Take): void {
    const fd = openSync(path, O_RDONLY | O_NONBLOCK);
    this.#readers.push({ fd, hold: undefined, take });
    // A FIFO without a writer looks as if it had ended: until the shim has it open, we are one.
    const reader = this.#readers.at(-1);
    if (reader !== undefined) reader.hold = openSync(path, O_WRONLY | O_NONBLOCK);
  }

  /** Reads from now on. */
  read(): void {
    for (const { fd, take } of this.#readers) this.#reading.push(this.#copy(fd, take));
  }

  /** The process's side has its ends: output ends when it closes them. */
  release(): void {
    for (const reader of this.#readers) {
      if (reader.hold !== undefined) closeSync(reader.hold);
      reader.hold = undefined;
    }
  }

  async #copy(fd: number, take: Take): Promise<void> {
    const reader = byteReader(fd);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.#lastRead = performance.now();
      await take(value);
    }
  }

  /**
   * Resolves when all output has been read; a process that the container left behind may hold it open: then when nothing
   * has come for `quietMs` milliseconds.
   */
  async drained(quietMs: number): Promise<void> {
    const begun = performance.now();
    let over = false;
    const all = Promise.allSettled(this.#reading).then(() => {
      over = true;
    });
    while (!over) {
      const left = quietMs - (performance.now() - Math.max(begun, this.#lastRead));
      if (left <= 0) return;
      let timer: Timer | undefined;
      await Promise.race([
        all,
        new Promise<void>((resolve) => {
          timer = setTimeout(resolve, left);
        }),
      ]);
      clearTimeout(timer);
    }
  }

  /** Writes to the process; waits while it does not read. False when nobody can any more. */
  async write(bytes: Uint8Array): Promise<boolean> {
    const path = this.stdio.stdin;
    if (path === "") return false;
    try {
      this.#input ??= openInput(path);
      for (let at = 0; at < bytes.length; ) at += await writeSome(this.#input, bytes.subarray(at));
      return true;
    } catch {
      return false;
    }
  }

  /** Writes no more. */
  closeInput(): void {
    if (this.#input !== undefined) closeSync(this.#input);
    this.#input = undefined;
  }

  /** Removes what was made. */
  remove(): void {
    this.release();
    // Readers close with the process: closing a descriptor that the event loop watches would take another's.
    if (this.#directory !== undefined) rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A blocking descriptor, whatever happens at the other end while it is opened. */
function openInput(path: string): number {
  const both = openSync(path, O_RDWR | O_NONBLOCK);
  try {
    return openSync(path, O_WRONLY);
  } finally {
    closeSync(both);
  }
}

function writeSome(fd: number, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, (error, count) => (error ? reject(error) : resolve(count)));
  });
}

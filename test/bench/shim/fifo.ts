/** FIFOs: the bench makes them, and keeps them open or has another program drain them. */

import { dlopen, FFIType } from "bun:ffi";
import { closeSync, constants, openSync, readSync, unlinkSync } from "node:fs";

const { symbols: libc } = dlopen("libc.so.6", {
  mkfifo: { args: [FFIType.cstring, FFIType.u32], returns: FFIType.i32 },
});

/**
 * Makes a FIFO.
 *
 * @throws Error when the path exists or cannot be made
 */
export function makeFifo(path: string): void {
  if (libc.mkfifo(Buffer.from(`${path}\0`), 0o700) !== 0) {
    throw new Error(`cannot make the FIFO ${path}`);
  }
}

/** Both ends of a FIFO held open, as containerd and clients do, so that no writer waits or gets EPIPE. */
export class HeldFifo {
  readonly path: string;
  readonly #fd: number;
  readonly #buffer = new Uint8Array(65536);

  /** Makes the FIFO and opens it. Throws Error when the path exists. */
  constructor(path: string) {
    makeFifo(path);
    this.path = path;
    this.#fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  }

  /** Takes out what is in the FIFO now. */
  drain(): string {
    let text = "";
    for (;;) {
      try {
        const count = readSync(this.#fd, this.#buffer);
        text += new TextDecoder().decode(this.#buffer.subarray(0, count));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EAGAIN") {
          return text;
        }
        throw error;
      }
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** Closes it and takes its name away. */
  remove(): void {
    this.close();
    unlinkSync(this.path);
  }
}

/**
 * A native reader that takes bytes out of a FIFO as fast as it can and ends after a number of them.
 *
 * @returns the bytes it got, when it has ended: fewer than asked when the FIFO ended before
 */
export async function drainBytes(path: string, bytes: number): Promise<number> {
  const argv = ["dd", `if=${path}`, "of=/dev/null", "bs=1M", "iflag=fullblock,count_bytes", `count=${bytes}`];
  const child = Bun.spawn(argv, {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C" },
    timeout: 300_000,
  });
  await child.exited;
  const words = await child.stderr.text();
  return Number(/^(\d+) bytes/m.exec(words)?.[1] ?? 0);
}

/** Input FIFOs of a client, held at both ends (IO-2, IO-6). */

import { messageOf, unknown } from "../../../proto/errdefs.ts";
import { close, O, open } from "../../linux/file.ts";

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

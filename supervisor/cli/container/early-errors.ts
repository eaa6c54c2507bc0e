/** What a process says on stderr before it runs. */

import { toStderr } from "./session.ts";

/** Bytes that are held. More waits in the pipe, and its writer with it. */
const MAX_HELD = 64 << 10;

/** Errors that come before anything runs are the runtime's, which says them again in its answer: they wait for the start. */
export class EarlyErrors {
  #held: Uint8Array[] | undefined = [];
  #size = 0;
  readonly #running = Promise.withResolvers<void>();

  readonly take = async (bytes: Uint8Array): Promise<void> => {
    if (this.#held !== undefined && this.#size < MAX_HELD) {
      this.#held.push(bytes.slice());
      this.#size += bytes.length;
      return;
    }
    if (this.#held !== undefined) await this.#running.promise;
    await toStderr(bytes);
  };

  /** It runs: what came was the container's. */
  async started(): Promise<void> {
    for (let held = this.#held; held !== undefined && held.length > 0; held = this.#held) {
      this.#held = [];
      for (const bytes of held) await toStderr(bytes);
    }
    this.#held = undefined;
    this.#running.resolve();
  }
}

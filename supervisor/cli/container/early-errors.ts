/** What a process says on stderr before it runs. */

import { toStderr } from "./session.ts";

/** Errors that come before anything runs are the runtime's, which says them again in its answer: they wait for the start. */
export class EarlyErrors {
  #held: Uint8Array[] | undefined = [];

  readonly take = async (bytes: Uint8Array): Promise<void> => {
    if (this.#held === undefined) await toStderr(bytes);
    else this.#held.push(bytes.slice());
  };

  /** It runs: what came was the container's. */
  async started(): Promise<void> {
    for (let held = this.#held; held !== undefined && held.length > 0; held = this.#held) {
      this.#held = [];
      for (const bytes of held) await toStderr(bytes);
    }
    this.#held = undefined;
  }
}

/** What init and execs have in common: state, streams, pid, and those who wait for the end. */

import { Lock } from "../container/lock.ts";
import type { Exit, Watched } from "../linux/reaper.ts";
import { type State, transition, type Verb } from "./state.ts";
import type { Stdio, StdioAddresses } from "./stdio/stdio.ts";

/** One process of a container. */
export class Process {
  /** The exec id; "" for init. */
  readonly key: string;
  readonly addresses: StdioAddresses;
  readonly lock = new Lock();
  state: State;
  /** 0 until there is one. */
  pid = 0;
  watched: Watched | undefined;
  #stdio: Stdio | undefined;
  #inputEnded = false;
  /** The runtime spec of an exec's process, until it is started. */
  spec: Uint8Array | undefined;
  #exit: Exit | undefined;
  readonly #waiting = new Set<(exit: Exit) => void>();

  constructor(key: string, addresses: StdioAddresses, state: State) {
    this.key = key;
    this.addresses = addresses;
    this.state = state;
  }

  /** The standard streams, once they are open. */
  get stdio(): Stdio | undefined {
    return this.#stdio;
  }

  set stdio(stdio: Stdio) {
    this.#stdio = stdio;
    if (this.#inputEnded) stdio.closeStdin();
  }

  /** Ends the input (CloseIO); one that comes before the streams are open is not lost. */
  closeStdin(): void {
    this.#inputEnded = true;
    this.#stdio?.closeStdin();
  }

  /** How the process ended; undefined while it has not, as far as clients may know (EV-7). */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /**
   * Resolves with the end of the process, the same for everyone and every time (T-WAI-1). Who gives up by the signal is
   * rejected with its reason and forgotten (T-WAI-2).
   */
  wait(signal?: AbortSignal): Promise<Exit> {
    if (this.#exit !== undefined) return Promise.resolve(this.#exit);
    return new Promise((resolve, reject) => {
      const end = (exit: Exit) => {
        signal?.removeEventListener("abort", giveUp);
        resolve(exit);
      };
      const giveUp = () => {
        this.#waiting.delete(end);
        reject(signal?.reason);
      };
      this.#waiting.add(end);
      signal?.addEventListener("abort", giveUp);
      if (signal?.aborted) giveUp();
    });
  }

  /** The process has ended: releases those who wait. Happens once. */
  setExited(exit: Exit): void {
    if (this.#exit !== undefined) return;
    this.#exit = exit;
    this.state = "stopped";
    for (const end of this.#waiting) end(exit);
    this.#waiting.clear();
  }

  /** The state that a verb leads to from here. @throws ContainerdError FailedPrecondition, NotFound */
  next(verb: Verb): State {
    return transition(this.key === "" ? "init" : "exec", this.state, verb);
  }
}

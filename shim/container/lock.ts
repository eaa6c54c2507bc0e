/** A queue of one: what changes a process's state runs one after another, while reads never wait (rule 7). */

export class Lock {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `action` when everything before it has ended, well or not. */
  run<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => {});
    return result;
  }
}

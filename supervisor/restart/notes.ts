/** Noting in a container's labels that it runs, or how it ended, for a time when there is no task any more. */

import { LAST_EXIT_LABEL, notesExit } from "./policy.ts";
import type { ContainerRecord } from "./start.ts";

/** What noting needs. */
export interface NotesOptions {
  /** A container's record; undefined when there is none. */
  readonly find: (namespace: string, id: string) => ContainerRecord | undefined;
  readonly label: (namespace: string, id: string, labels: Record<string, string>) => Promise<void>;
}

/** The notes of one daemon: those of a container are written one after another, and only what is new. */
export class Notes {
  readonly #options: NotesOptions;
  readonly #writing = new Map<string, Promise<void>>();

  constructor(options: NotesOptions) {
    this.#options = options;
  }

  /** Notes `text` for a container whose policy will ask for it; others are left alone. @throws ContainerdError */
  note(namespace: string, id: string, text: string): Promise<void> {
    const key = `${namespace}/${id}`;
    const before = this.#writing.get(key)?.catch(() => undefined);
    const writing =
      before === undefined ? this.#write(namespace, id, text) : before.then(() => this.#write(namespace, id, text));
    this.#writing.set(key, writing);
    const done = (): void => {
      if (this.#writing.get(key) === writing) this.#writing.delete(key);
    };
    void writing.then(done, done);
    return writing;
  }

  async #write(namespace: string, id: string, text: string): Promise<void> {
    const labels = this.#options.find(namespace, id)?.labels;
    if (labels === undefined || !notesExit(labels) || labels[LAST_EXIT_LABEL] === text) return;
    await this.#options.label(namespace, id, { [LAST_EXIT_LABEL]: text });
  }
}

/** What a check did and what it met, in order: quoted by a failure, printed whole by `--verbose`. */

/** One line. Frames are for `--verbose` alone. */
export interface Entry {
  /** Since the check began. */
  readonly ms: number;
  readonly kind: "call" | "rpc" | "event" | "frame" | "note";
  readonly text: string;
}

export class Transcript {
  readonly entries: Entry[] = [];
  readonly #begun = performance.now();
  readonly #listen: ((entry: Entry) => void) | undefined;

  /** @param listen is told each entry as it comes */
  constructor(listen?: (entry: Entry) => void) {
    this.#listen = listen;
  }

  add(kind: Entry["kind"], text: string): void {
    const entry = { ms: performance.now() - this.#begun, kind, text };
    // A check that makes thousands of calls keeps the last of them.
    if (this.entries.length >= 2000) this.entries.splice(0, 1000);
    if (kind !== "frame") this.entries.push(entry);
    this.#listen?.(entry);
  }

  /** The last few lines, for a failure. */
  tail(count: number): string[] {
    return this.entries.slice(-count).map(({ text }) => text);
  }
}

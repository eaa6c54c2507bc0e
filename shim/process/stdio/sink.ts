/** Where copied bytes go. */

/** An end of a copy. */
export interface Sink {
  /** When it answers a promise, more may come once that has resolved; it never rejects. */
  write(bytes: Uint8Array): unknown;
  /** Gives up a write that has not come to its end, because nobody takes the bytes. */
  abort?(): void;
  close(): void;
}

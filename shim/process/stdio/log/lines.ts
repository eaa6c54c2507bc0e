/**
 * Cuts a stream of bytes into lines, and lines that are longer than {@link LINE_BYTES} into pieces, for formats that
 * write an entry for each. What is not yet a line is held, up to that size.
 */

/** The longest text of an entry, as docker and the CRI have it. */
export const LINE_BYTES = 16 << 10;

const NEWLINE = 10;
const NOTHING = new Uint8Array(0);

/** What becomes of lines. */
export interface LineTaker {
  /** Whole lines, the last of which ends with a newline; none is longer than {@link LINE_BYTES} without it. */
  lines(bytes: Uint8Array): void;
  /** A piece of a line that goes on. */
  piece(bytes: Uint8Array): void;
}

/** The lines of one stream. */
export class Lines {
  readonly #taker: LineTaker;
  #held: Uint8Array = NOTHING;

  constructor(taker: LineTaker) {
    this.#taker = taker;
  }

  /** Bytes that have come and were not passed on. */
  get held(): number {
    return this.#held.length;
  }

  /** Takes what has been read; the array is the caller's again when it returns. */
  take(bytes: Uint8Array): void {
    let from = 0;
    if (this.#held.length > 0) {
      from = bytes.indexOf(NEWLINE) + 1 || bytes.length;
      const line = join(this.#held, bytes.subarray(0, from));
      this.#held = NOTHING;
      this.#pass(line);
    }
    if (from < bytes.length) this.#pass(from === 0 ? bytes : bytes.subarray(from));
  }

  /** The stream has ended: what is held is a line that nothing ends. */
  end(): void {
    const rest = this.#held;
    this.#held = NOTHING;
    if (rest.length > 0) this.#taker.piece(rest);
  }

  #pass(bytes: Uint8Array): void {
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    let from = 0;
    for (;;) {
      const to = endOfShortLines(bytes, from, end);
      if (to > from) this.#taker.lines(bytes.subarray(from, to));
      from = to;
      if (bytes.length - from <= LINE_BYTES) break;
      const cut = characterBorder(bytes, from, from + LINE_BYTES);
      this.#taker.piece(bytes.subarray(from, cut));
      from = cut;
    }
    // Copied, because a small view would keep all that was read with it.
    if (from < bytes.length) this.#held = bytes.slice(from);
  }
}

/** Where the first line that is too long begins, or `end`. It looks at one byte for many: newlines are found backwards. */
function endOfShortLines(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end) {
    const newline = bytes.lastIndexOf(NEWLINE, Math.min(at + LINE_BYTES, end - 1));
    if (newline < at) break;
    at = newline + 1;
  }
  return at;
}

/** The end of the last whole character of UTF-8 before `to`; `to` where the bytes are no UTF-8. */
function characterBorder(bytes: Uint8Array, from: number, to: number): number {
  for (let at = to; at > Math.max(from, to - 4); at--) {
    if (((bytes[at] ?? 0) & 0xc0) !== 0x80) return at;
  }
  return to;
}

function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

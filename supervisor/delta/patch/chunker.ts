/** Cuts bytes where their content says, so that equal parts are cut alike wherever they stand (a gear hash). */

/** Bytes that can be read anywhere. */
export interface RandomBytes {
  readonly size: number;
  /** Fills `into` from `offset` on; the bytes must be there. */
  read(offset: number, into: Uint8Array): void;
}

/** Shortest and longest chunk. */
const MIN = 1024;
const MAX = 16 << 10;
/** Bytes that are read at a time. */
const BLOCK = 1 << 20;
/** On average a chunk has 2^this bytes more than the shortest; one bit more for each doubling from so many bytes on. */
const BITS = { least: 12, most: 20, upTo: 2 ** 30 };

/** Numbers that look random and are always the same (xorshift). */
const gear = (() => {
  const table = new Int32Array(256);
  let state = 0x9e3779b9;
  for (let i = 0; i < 256; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    table[i] = state;
  }
  return table;
})();

/** The bits of a hash that must be zero where bytes of this length are cut. */
export function maskFor(size: number): number {
  let bits = BITS.least;
  for (let limit = BITS.upTo; size > limit && bits < BITS.most; limit *= 2) bits++;
  return (0xffffffff << (32 - bits)) | 0;
}

/** Calls `found` for each chunk, from the first to the last. The bytes are valid during the call. */
export function cut(bytes: RandomBytes, mask: number, found: (offset: number, chunk: Buffer) => void): void {
  const buffer = Buffer.allocUnsafeSlow(BLOCK + MAX);
  let offset = 0;
  let filled = 0;
  for (;;) {
    const wanted = Math.min(buffer.length - filled, bytes.size - offset - filled);
    if (wanted > 0) bytes.read(offset + filled, buffer.subarray(filled, filled + wanted));
    filled += wanted;
    const isLast = offset + filled === bytes.size;
    let at = 0;
    while (filled - at >= MAX || (isLast && at < filled)) {
      const end = endOf(buffer, at, filled, mask);
      found(offset + at, buffer.subarray(at, end));
      at = end;
    }
    if (isLast) return;
    buffer.copyWithin(0, at, filled);
    offset += at;
    filled -= at;
  }
}

function endOf(buffer: Buffer, from: number, filled: number, mask: number): number {
  const limit = Math.min(from + MAX, filled);
  let hash = 0;
  for (let at = from + MIN; at < limit; at++) {
    hash = ((hash << 1) + (gear[buffer[at] as number] as number)) | 0;
    if ((hash & mask) === 0) return at + 1;
  }
  return limit;
}

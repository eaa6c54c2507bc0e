/**
 * The frames of ttrpc: a 10-byte header (u32 length, u32 stream id, u8 type, u8 flags; big endian) and a payload (TT-1,
 * ttrpc PROTOCOL.md "Message Frame"). Pure: bytes in, frames out; no socket, no clock.
 */

/** Bytes of a frame's header. */
export const HEADER_SIZE = 10;

/** Largest payload in bytes that a frame may have (TT-2). */
export const MAX_PAYLOAD = 4 << 20;

/** The types of a frame. Frames of other types are skipped (TT-3). */
export const FrameType = { Request: 1, Response: 2, Data: 3 } as const;

/** The flags of a frame, one bit each. */
export const Flag = {
  /** The sender sends no more data on this stream. */
  RemoteClosed: 1,
  /** On a request: the sender is going to send data on this stream. */
  RemoteOpen: 2,
  /** The frame carries no message, as opposed to a message of zero bytes. */
  NoData: 4,
} as const;

/** First allocation for a payload that arrives in pieces; it grows with the bytes that really come. */
const FIRST_ALLOCATION = 16 << 10;

/** Writes a frame's header into the first ten bytes of `target`. */
export function writeHeader(target: Uint8Array, length: number, streamId: number, type: number, flags: number): void {
  target[0] = length >>> 24;
  target[1] = length >>> 16;
  target[2] = length >>> 8;
  target[3] = length;
  target[4] = streamId >>> 24;
  target[5] = streamId >>> 16;
  target[6] = streamId >>> 8;
  target[7] = streamId;
  target[8] = type;
  target[9] = flags;
}

/** A whole frame as one piece of memory. The caller has checked the payload against {@link MAX_PAYLOAD}. */
export function encodeFrame(streamId: number, type: number, flags: number, payload?: Uint8Array): Uint8Array {
  const length = payload === undefined ? 0 : payload.length;
  const frame = new Uint8Array(HEADER_SIZE + length);
  writeHeader(frame, length, streamId, type, flags);
  if (payload !== undefined) frame.set(payload, HEADER_SIZE);
  return frame;
}

/** Where a decoder puts what it finds. */
export interface FrameSink {
  /**
   * A whole frame of a known type. `payload` may be a view into the chunk that was pushed, so a sink that keeps it for
   * long copies it.
   */
  frame(streamId: number, type: number, flags: number, payload: Uint8Array): void;
  /** A frame whose payload exceeds the limit; its bytes are being discarded (TT-2). */
  oversized(streamId: number, type: number, flags: number, length: number): void;
}

/**
 * Turns chunks of any size into whole frames. What it holds is bounded: a header, and of one payload the bytes that have
 * arrived (at most twice that many are allocated). An oversized payload, and the payload of a frame of unknown type, is
 * discarded as it comes and never held.
 */
export class FrameDecoder {
  readonly #sink: FrameSink;
  readonly #maxPayload: number;
  readonly #header = new Uint8Array(HEADER_SIZE);
  /** Bytes of the header held so far; HEADER_SIZE while a payload is being collected or skipped. */
  #headerBytes = 0;
  #body: Uint8Array | undefined;
  #bodyBytes = 0;
  #length = 0;
  #skip = 0;
  #paused = false;

  constructor(sink: FrameSink, maxPayload: number = MAX_PAYLOAD) {
    this.#sink = sink;
    this.#maxPayload = maxPayload;
  }

  /** Bytes of memory held for a frame that has not come whole. */
  get held(): number {
    return this.#body === undefined ? 0 : this.#body.length;
  }

  /** True between two frames: nothing of a further frame has arrived. */
  get atBoundary(): boolean {
    return this.#headerBytes === 0 && this.#skip === 0;
  }

  /** Hands over no further frame until {@link resume}: a sink calls it when it can take no more. */
  pause(): void {
    this.#paused = true;
  }

  /** Ends a pause. */
  resume(): void {
    this.#paused = false;
  }

  /**
   * Takes the next bytes of the connection, and calls the sink once for each frame that they complete.
   * @returns the number of bytes taken: fewer than the chunk has when the sink paused; push the rest after a resume
   */
  push(chunk: Uint8Array): number {
    let at = 0;
    while (at < chunk.length && !this.#paused) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, chunk.length - at);
        this.#skip -= step;
        at += step;
      } else if (this.#headerBytes === 0 && chunk.length - at >= HEADER_SIZE) {
        at = this.#begin(chunk, at, at + HEADER_SIZE);
      } else if (this.#headerBytes < HEADER_SIZE) {
        const step = Math.min(HEADER_SIZE - this.#headerBytes, chunk.length - at);
        this.#header.set(chunk.subarray(at, at + step), this.#headerBytes);
        this.#headerBytes += step;
        at += step;
        if (this.#headerBytes === HEADER_SIZE) at = this.#beginHeld(chunk, at);
      } else {
        at = this.#collect(chunk, at);
      }
    }
    return at;
  }

  /** Starts the frame whose header is at `from` in the chunk; a whole frame in one chunk costs no copy. */
  #begin(chunk: Uint8Array, from: number, bodyAt: number): number {
    const length = readU32(chunk, from);
    const type = chunk[from + 8] ?? 0;
    if (length <= this.#maxPayload && isKnown(type) && chunk.length - bodyAt >= length) {
      this.#sink.frame(readU32(chunk, from + 4), type, chunk[from + 9] ?? 0, chunk.subarray(bodyAt, bodyAt + length));
      return bodyAt + length;
    }
    this.#header.set(chunk.subarray(from, bodyAt));
    return this.#beginHeld(chunk, bodyAt);
  }

  /** Starts the frame whose header is held. The size is looked at before anything is allocated for it. */
  #beginHeld(chunk: Uint8Array, at: number): number {
    const length = readU32(this.#header, 0);
    const type = this.#header[8] ?? 0;
    const streamId = readU32(this.#header, 4);
    const flags = this.#header[9] ?? 0;
    if (length > this.#maxPayload) {
      this.#headerBytes = 0;
      this.#skip = length;
      this.#sink.oversized(streamId, type, flags, length);
      return at;
    }
    if (!isKnown(type)) {
      this.#headerBytes = 0;
      this.#skip = length;
      return at;
    }
    if (chunk.length - at >= length) {
      this.#headerBytes = 0;
      this.#sink.frame(streamId, type, flags, chunk.subarray(at, at + length));
      return at + length;
    }
    this.#headerBytes = HEADER_SIZE;
    this.#length = length;
    this.#bodyBytes = 0;
    this.#body = new Uint8Array(Math.min(length, Math.max(FIRST_ALLOCATION, chunk.length - at)));
    return at;
  }

  /** Adds to the payload being collected, and hands the frame over when it is whole. */
  #collect(chunk: Uint8Array, at: number): number {
    let body = this.#body ?? new Uint8Array(0);
    const step = Math.min(this.#length - this.#bodyBytes, chunk.length - at);
    const needed = this.#bodyBytes + step;
    if (needed > body.length) {
      const larger = new Uint8Array(Math.min(this.#length, Math.max(needed, body.length * 2)));
      larger.set(body.subarray(0, this.#bodyBytes));
      body = larger;
      this.#body = larger;
    }
    body.set(chunk.subarray(at, at + step), this.#bodyBytes);
    this.#bodyBytes = needed;
    if (needed === this.#length) {
      this.#body = undefined;
      this.#headerBytes = 0;
      this.#sink.frame(readU32(this.#header, 4), this.#header[8] ?? 0, this.#header[9] ?? 0, body);
    }
    return at + step;
  }
}

function isKnown(type: number): boolean {
  return type >= FrameType.Request && type <= FrameType.Data;
}

function readU32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  );
}

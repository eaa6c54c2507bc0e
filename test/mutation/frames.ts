/** Cuts a stream of bytes into frames as they are; the kit's reader refuses what a proxy has to pass on. */

import { concat, headerSize, maxPayload } from "../conformance/rig/wire.ts";

export class FrameCutter {
  #rest: Uint8Array = new Uint8Array();
  /** Bytes of a frame that is too long to be kept. */
  #passing = 0;

  /** Whole frames, header included. A frame that is longer than any may be comes in pieces. */
  push(bytes: Uint8Array): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    let all = concat(this.#rest, bytes);
    while (all.length > 0) {
      if (this.#passing > 0) {
        const piece = all.subarray(0, this.#passing);
        this.#passing -= piece.length;
        pieces.push(piece);
        all = all.subarray(piece.length);
        continue;
      }
      if (all.length < headerSize) break;
      const length = new DataView(all.buffer, all.byteOffset).getUint32(0);
      if (length > maxPayload) {
        this.#passing = headerSize + length;
        continue;
      }
      if (all.length < headerSize + length) break;
      pieces.push(all.slice(0, headerSize + length));
      all = all.subarray(headerSize + length);
    }
    this.#rest = all;
    return pieces;
  }

  /** True while a frame has begun and not ended. */
  get isWithin(): boolean {
    return this.#rest.length > 0 || this.#passing > 0;
  }
}

/** The parts of a whole frame's header. */
export function readHeader(frame: Uint8Array): { stream: number; type: number; flags: number; length: number } {
  const view = new DataView(frame.buffer, frame.byteOffset);
  return { length: view.getUint32(0), stream: view.getUint32(4), type: frame[8] ?? 0, flags: frame[9] ?? 0 };
}

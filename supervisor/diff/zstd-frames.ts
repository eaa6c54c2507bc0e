/**
 * Follows the frames of a zstd stream without decompressing it (RFC 8878, section 3.1): the decompressor does not tell
 * whether a stream that ends was over.
 */

const MAGIC = 0xfd2fb528;
/** Sizes of the dictionary's id and of the content's size by their flags. */
const DICTIONARY_BYTES = [0, 1, 2, 4] as const;
const CONTENT_BYTES = [0, 2, 4, 8] as const;
const RLE = 1;

type State = "magic" | "skippable" | "descriptor" | "rest" | "block" | "content" | "checksum";
const sizes: Partial<Record<State, number>> = { magic: 4, skippable: 4, descriptor: 1, block: 3, checksum: 4 };

/** The frames of one stream. */
export class ZstdFrames {
  #state: State = "magic";
  /** Bytes of a field, little endian, as far as they have come. */
  #value = 0;
  #have = 0;
  /** Bytes to pass over. */
  #skip = 0;
  #hasChecksum = false;
  #isLast = false;

  /** True where a stream may end: between two frames. */
  get isBetween(): boolean {
    return this.#state === "magic" && this.#have === 0 && this.#skip === 0;
  }

  /** Takes the next bytes of the stream. What is no frame ends the following: the decompressor will complain of it. */
  feed(bytes: Uint8Array, from: number, to: number): void {
    for (let at = from; at < to; ) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, to - at);
        this.#skip -= step;
        at += step;
        if (this.#skip === 0) this.#skipped();
        continue;
      }
      this.#value += (bytes[at++] ?? 0) * 256 ** this.#have++;
      if (this.#have === sizes[this.#state]) this.#field(this.#value);
    }
  }

  #enter(state: State, skip = 0): void {
    this.#state = state;
    this.#value = this.#have = 0;
    this.#skip = skip;
    if ((state === "rest" || state === "content") && skip === 0) this.#skipped();
  }

  #field(value: number): void {
    switch (this.#state) {
      case "magic":
        this.#enter(value === MAGIC ? "descriptor" : "skippable");
        return;
      case "skippable":
        // What is skipped, and then another frame: the state of a frame's last block, without a checksum.
        this.#isLast = true;
        this.#hasChecksum = false;
        this.#enter("content", value);
        return;
      case "descriptor": {
        const isSingle = (value & 0x20) !== 0;
        this.#hasChecksum = (value & 4) !== 0;
        const content = value >> 6 === 0 && isSingle ? 1 : (CONTENT_BYTES[value >> 6] ?? 0);
        this.#enter("rest", (isSingle ? 0 : 1) + (DICTIONARY_BYTES[value & 3] ?? 0) + content);
        return;
      }
      case "block":
        this.#isLast = (value & 1) !== 0;
        this.#enter("content", ((value >> 1) & 3) === RLE ? 1 : value >> 3);
        return;
      default:
        this.#enter("magic");
    }
  }

  #skipped(): void {
    if (this.#state === "rest" || !this.#isLast) this.#enter("block");
    else this.#enter(this.#hasChecksum ? "checksum" : "magic");
  }
}

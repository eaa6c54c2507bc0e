/** Reading a non-blocking descriptor as it fills: Bun's event loop watches it, so waiting costs nothing. */

/** Reads chunks until `done`. Cancel it before the descriptor is closed; closing is the owner's. */
export type ByteReader = ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | ReturnType<typeof byteReader>;

/** A reader of a pipe, FIFO, terminal, eventfd or inotify descriptor, which must be non-blocking. */
export function byteReader(fd: number) {
  return Bun.file(fd).stream().getReader();
}

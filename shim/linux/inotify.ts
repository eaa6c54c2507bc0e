/** Watching files for events with one inotify descriptor for the whole process; costs nothing while nothing happens. */

import { FFIType as T } from "bun:ffi";
import { close } from "./file.ts";
import { check, cstring, openLibc } from "./libc.ts";
import { byteReader } from "./stream.ts";

/** Events of inotify(7). */
export const IN = { MODIFY: 0x2, CLOSE_NOWRITE: 0x10, OPEN: 0x20, IGNORED: 0x8000 } as const;

const NONBLOCK_CLOEXEC = 0o2004000;
const HEADER_BYTES = 16;

let instance: Inotify | undefined;

/** A watch that can be ended. */
export interface Watch {
  close(): void;
}

/**
 * Calls `onEvent` with the mask of each event on `path` until the watch is closed.
 * @throws ErrnoError
 */
export function watchFile(path: string, mask: number, onEvent: (mask: number) => void): Watch {
  instance ??= new Inotify();
  return instance.add(path, mask, onEvent);
}

class Inotify {
  readonly #calls = openLibc({
    inotify_init1: { args: [T.i32], returns: T.i32 },
    inotify_add_watch: { args: [T.i32, T.ptr, T.u32], returns: T.i32 },
    inotify_rm_watch: { args: [T.i32, T.i32], returns: T.i32 },
  }).symbols;
  readonly #fd = check(this.#calls.inotify_init1(NONBLOCK_CLOEXEC), "inotify_init1", "");
  /** The same path watched twice is one descriptor in the kernel, hence the lists. */
  readonly #handlers = new Map<number, ((mask: number) => void)[]>();
  #reading = false;

  add(path: string, mask: number, onEvent: (mask: number) => void): Watch {
    const name = cstring(path);
    const watch = check(this.#calls.inotify_add_watch(this.#fd, name, mask), "inotify_add_watch", path);
    const handlers = this.#handlers.get(watch) ?? [];
    this.#handlers.set(watch, [...handlers, onEvent]);
    if (!this.#reading) void this.#read();
    return { close: () => this.#remove(watch, onEvent) };
  }

  #remove(watch: number, onEvent: (mask: number) => void): void {
    const handlers = this.#handlers.get(watch);
    if (handlers === undefined) return;
    const left = handlers.filter((handler) => handler !== onEvent);
    if (left.length > 0) {
      this.#handlers.set(watch, left);
      return;
    }
    this.#handlers.delete(watch);
    this.#calls.inotify_rm_watch(this.#fd, watch);
  }

  async #read(): Promise<void> {
    this.#reading = true;
    const reader = byteReader(this.#fd);
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
        for (let at = 0; at + HEADER_BYTES <= view.byteLength; at += HEADER_BYTES + view.getUint32(at + 12, true)) {
          const watch = view.getInt32(at, true);
          const mask = view.getUint32(at + 4, true);
          for (const handler of this.#handlers.get(watch) ?? []) handler(mask);
        }
      }
    } finally {
      close(this.#fd);
      if (instance === this) instance = undefined;
    }
  }
}

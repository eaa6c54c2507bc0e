/** Watching files for events with one inotify descriptor for the whole process; costs nothing while nothing happens. */

import { FFIType as T } from "bun:ffi";
import { close } from "./file.ts";
import { check, cstring, openLibc } from "./libc.ts";
import { byteReader } from "./stream.ts";

/** Events of inotify(7). */
export const IN = {
  MODIFY: 0x2,
  CLOSE_NOWRITE: 0x10,
  OPEN: 0x20,
  MOVED_FROM: 0x40,
  MOVED_TO: 0x80,
  CREATE: 0x100,
  DELETE: 0x200,
  IGNORED: 0x8000,
} as const;

const NONBLOCK_CLOEXEC = 0o2004000;
const MASK_ADD = 0x20000000;
const HEADER_BYTES = 16;

let instance: Inotify | undefined;

/** A watch that can be ended. */
export interface Watch {
  close(): void;
}

/**
 * Calls `onEvent` with the mask of each event on `path` that `mask` names, and of IN.IGNORED when the file is gone, until
 * the watch is closed.
 * @throws ErrnoError
 */
export function watchFile(path: string, mask: number, onEvent: (mask: number) => void): Watch {
  instance ??= new Inotify();
  return instance.add(path, mask, onEvent);
}

interface Handler {
  readonly mask: number;
  readonly onEvent: (mask: number) => void;
}

class Inotify {
  readonly #calls = openLibc({
    inotify_init1: { args: [T.i32], returns: T.i32 },
    inotify_add_watch: { args: [T.i32, T.ptr, T.u32], returns: T.i32 },
    inotify_rm_watch: { args: [T.i32, T.i32], returns: T.i32 },
  }).symbols;
  readonly #fd = check(this.#calls.inotify_init1(NONBLOCK_CLOEXEC), "inotify_init1", "");
  /** The same file watched twice is one descriptor in the kernel, hence the lists. */
  readonly #handlers = new Map<number, readonly Handler[]>();
  #reading = false;

  add(path: string, mask: number, onEvent: (mask: number) => void): Watch {
    const name = cstring(path);
    // Without IN_MASK_ADD this would take away the events that another watch of the same file asked for.
    const watch = check(this.#calls.inotify_add_watch(this.#fd, name, mask | MASK_ADD), "inotify_add_watch", path);
    const handler = { mask: mask | IN.IGNORED, onEvent };
    this.#handlers.set(watch, [...(this.#handlers.get(watch) ?? []), handler]);
    if (!this.#reading) void this.#read();
    return { close: () => this.#remove(watch, handler) };
  }

  #remove(watch: number, handler: Handler): void {
    const handlers = this.#handlers.get(watch);
    if (handlers === undefined) return;
    const left = handlers.filter((other) => other !== handler);
    if (left.length > 0) {
      this.#handlers.set(watch, left);
      return;
    }
    this.#handlers.delete(watch);
    this.#calls.inotify_rm_watch(this.#fd, watch);
  }

  #tell(watch: number, mask: number): void {
    const handlers = this.#handlers.get(watch) ?? [];
    // The kernel has ended the watch itself; its number will not come again.
    if ((mask & IN.IGNORED) !== 0) this.#handlers.delete(watch);
    for (const handler of handlers) {
      if ((mask & handler.mask) === 0) continue;
      try {
        handler.onEvent(mask);
      } catch (error) {
        // One watcher's failure must not end the watches of the others.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
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
          this.#tell(watch, mask);
        }
      }
    } finally {
      close(this.#fd);
      if (instance === this) instance = undefined;
    }
  }
}

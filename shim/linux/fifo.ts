/** Making FIFOs. */

import { FFIType as T } from "bun:ffi";
import { ErrnoError } from "./errno.ts";
import { cstring, errno, openLibc } from "./libc.ts";

let calls: ReturnType<typeof openCalls> | undefined;

function openCalls() {
  return openLibc({ mkfifo: { args: [T.ptr, T.u32], returns: T.i32 } }).symbols;
}

/** Makes a FIFO; one that is there already is fine. @throws ErrnoError */
export function makeFifo(path: string, mode: number): void {
  calls ??= openCalls();
  const name = cstring(path);
  if (calls.mkfifo(name, mode) === 0) return;
  const error = errno();
  if (error !== 17) throw new ErrnoError(error, "mkfifo", path);
}

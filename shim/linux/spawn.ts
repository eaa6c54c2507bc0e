/** Starting programs with exactly the descriptors named, by posix_spawn(3). */

import { ErrnoError } from "./errno.ts";
import { close } from "./file.ts";
import { address, check, cstring, libc } from "./libc.ts";

/** How to start a program. */
export interface SpawnOptions {
  /** Absolute path of the program. */
  readonly path: string;
  /** Arguments, the first is the program's own name. */
  readonly argv: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Descriptors of the child: the element at index n becomes its descriptor n. All others are closed. */
  readonly fds: readonly number[];
}

const SETPGROUP = 0x02;
const SETSIGDEF = 0x04;
const SETSIGMASK = 0x08;
const F_DUPFD_CLOEXEC = 1030;
/** At least what glibc needs: 80 bytes for file actions, 336 for attributes. */
const OPAQUE_BYTES = 512;

/** A NULL-terminated array of C strings; `keep` holds what it points into. */
function stringArray(values: readonly string[]): { pointers: BigUint64Array; keep: Uint8Array[] } {
  const keep = values.map(cstring);
  const pointers = new BigUint64Array(values.length + 1);
  keep.forEach((bytes, i) => {
    pointers[i] = BigInt(address(bytes));
  });
  return { pointers, keep };
}

/**
 * Starts a program in a process group of its own, with all signals at their defaults and none blocked, so that what
 * the shim ignores (SIGPIPE) is not passed on to containers.
 * @returns the pid; the caller must have made sure that somebody waits for it
 * @throws ErrnoError when the program cannot be executed
 */
export function spawn(options: SpawnOptions): number {
  const actions = new Uint8Array(OPAQUE_BYTES);
  const attributes = new Uint8Array(OPAQUE_BYTES);
  const allSignals = new Uint8Array(128).fill(0xff);
  const noSignals = new Uint8Array(128);
  const pid = new Int32Array(1);
  const path = cstring(options.path);
  const argv = stringArray(options.argv);
  const env = stringArray(Object.entries(options.env).map(([key, value]) => `${key}=${value}`));
  // A source below the targets could be overwritten by an earlier dup2, so it moves out of the way first.
  const moved: number[] = [];
  const count = options.fds.length;
  libc.posix_spawn_file_actions_init(actions);
  try {
    options.fds.forEach((fd, target) => {
      let source = fd;
      if (fd < count) {
        source = check(libc.fcntl(fd, F_DUPFD_CLOEXEC, count), "dup", fd);
        moved.push(source);
      }
      libc.posix_spawn_file_actions_adddup2(actions, source, target);
    });
    libc.posix_spawnattr_init(attributes);
    libc.posix_spawnattr_setflags(attributes, SETPGROUP | SETSIGDEF | SETSIGMASK);
    libc.posix_spawnattr_setpgroup(attributes, 0);
    libc.posix_spawnattr_setsigmask(attributes, noSignals);
    libc.posix_spawnattr_setsigdefault(attributes, allSignals);
    const error = libc.posix_spawn(pid, path, actions, attributes, argv.pointers, env.pointers);
    if (error !== 0) throw new ErrnoError(error, "exec", options.path);
    return pid[0] ?? -1;
  } finally {
    libc.posix_spawn_file_actions_destroy(actions);
    for (const fd of moved) close(fd);
    // What the pointers point into must outlive the call.
    argv.keep.length = 0;
    env.keep.length = 0;
  }
}

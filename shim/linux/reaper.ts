/**
 * The one reaper: every child of the shim, spawned by it or handed to it by the kernel because the shim is a subreaper,
 * is waited for here and nowhere else (PR-1). A child that nobody knows is reaped silently.
 *
 * Invariant: a pid is reaped only in `sweep`, on the event loop. Between the check that a process has not been reaped
 * and a signal to it nothing else runs, so no signal can reach a recycled pid; a pidfd guards the same across threads
 * and programs (T-KIL-5).
 */

import { ErrnoError } from "./errno.ts";
import { close, readFileIfExists } from "./file.ts";
import { check, errno, libc } from "./libc.ts";
import { type SpawnOptions, spawn } from "./spawn.ts";

/** The end of a process. */
export interface Exit {
  /** Exit code, or 128 and the signal's number (PR-4). */
  readonly status: number;
  /** When it was reaped, milliseconds since the epoch. */
  readonly at: number;
}

/** Exits of pids that nobody had claimed when they were reaped, while a program is being started (T-STA-7). */
export class Capture {
  readonly exits = new Map<number, Exit>();
}

const SYS_pidfd_send_signal = 424;
const SYS_pidfd_open = 434;
const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
const ECHILD = 10;

/** A process that the shim waits for. */
export class Watched {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  exit: Exit | undefined;
  #pidfd: number;
  #settle: (exit: Exit) => void;

  constructor(pid: number) {
    this.pid = pid;
    const { promise, resolve } = Promise.withResolvers<Exit>();
    this.exited = promise;
    this.#settle = resolve;
    this.#pidfd = Number(libc.syscall(SYS_pidfd_open, pid, 0, 0, 0, 0));
  }

  /** For the reaper only. */
  settle(exit: Exit): void {
    this.exit = exit;
    close(this.#pidfd);
    this.#pidfd = -1;
    this.#settle(exit);
  }

  /**
   * Sends a signal to exactly this process.
   * @returns false when it has exited
   * @throws ErrnoError EINVAL for a signal that does not exist
   */
  signal(number: number): boolean {
    if (this.exit !== undefined) return false;
    const result =
      this.#pidfd >= 0
        ? Number(libc.syscall(SYS_pidfd_send_signal, this.#pidfd, number, 0, 0, 0))
        : libc.kill(this.pid, number);
    if (result === 0) return true;
    const error = errno();
    if (error === 3) return false;
    throw new ErrnoError(error, "kill", this.pid);
  }

  /** Sends SIGKILL to the process group that the process leads (see {@link spawn}). */
  killGroup(): void {
    if (this.exit === undefined) libc.kill(-this.pid, 9);
  }
}

/** Waits for all children of this process. There is one in a process. */
export class Reaper {
  readonly #watched = new Map<number, Watched>();
  readonly #captures = new Set<Capture>();
  readonly #status = new Int32Array(1);
  readonly #onSignal = () => this.sweep();

  /** Becomes a subreaper and begins to listen; must come before the first child. @throws ErrnoError */
  start(): void {
    check(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl", "PR_SET_CHILD_SUBREAPER");
    process.on("SIGCHLD", this.#onSignal);
  }

  /** Starts a program that is known before it can exit. @throws ErrnoError */
  spawn(options: SpawnOptions): Watched {
    return this.watch(() => spawn(options));
  }

  /** Makes a child by `fork` (which returns its pid) that is known before it can exit. */
  watch(fork: () => number): Watched {
    const watched = new Watched(fork());
    this.#watched.set(watched.pid, watched);
    return watched;
  }

  /** Begins to keep exits of unknown pids; must be called before the program that makes them is started. */
  capture(): Capture {
    const capture = new Capture();
    this.#captures.add(capture);
    return capture;
  }

  /** Ends a capture. */
  release(capture: Capture): void {
    this.#captures.delete(capture);
  }

  /**
   * Takes over a process that a child left to the subreaper, such as a container's init, by the pid that runc wrote.
   * It may have exited already: then its exit is in the capture that was begun before.
   * @throws ErrnoError ECHILD for a process that is not ours, and whose end we would never hear of
   */
  adopt(pid: number, capture: Capture): Watched {
    // The living process is asked first: a captured exit may be that of an earlier process with the same pid.
    const isChild = this.#isChild(pid);
    const early = capture.exits.get(pid);
    if (!isChild && early === undefined) throw new ErrnoError(ECHILD, "adopt", pid);
    const watched = new Watched(pid);
    if (isChild) this.#watched.set(pid, watched);
    else if (early !== undefined) watched.settle(early);
    return watched;
  }

  /** How many processes are being waited for by name. */
  get size(): number {
    return this.#watched.size;
  }

  /** Reaps whatever has exited. Signals coalesce, so it goes on until there is nothing left. */
  sweep(): void {
    for (;;) {
      const pid = libc.wait4(-1, this.#status, WNOHANG, null);
      if (pid <= 0) return;
      const raw = this.#status[0] ?? 0;
      const signal = raw & 0x7f;
      const exit: Exit = { status: signal === 0 ? (raw >> 8) & 0xff : 128 + signal, at: Date.now() };
      const watched = this.#watched.get(pid);
      if (watched !== undefined) {
        this.#watched.delete(pid);
        watched.settle(exit);
      } else {
        for (const capture of this.#captures) capture.exits.set(pid, exit);
      }
    }
  }

  #isChild(pid: number): boolean {
    const stat = readFileIfExists(`/proc/${pid}/stat`);
    return stat !== undefined && parentOf(stat) === process.pid;
  }
}

/** The parent's pid in a line of /proc/PID/stat; the command in it may hold spaces and parentheses. */
function parentOf(stat: string): number {
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

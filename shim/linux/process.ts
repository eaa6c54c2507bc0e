/** What a process says of itself. */

import { close, O, open, readFile, readFileIfExists, writeAll } from "./file.ts";
import { address, check, cstring, libc } from "./libc.ts";

/** PF_EXITING of the kernel: the process is on its way out, though it may still be running its own end. */
const EXITING = 0x4;

const PR_SET_NAME = 15;
const PR_SCHED_CORE = 62;
const PR_SCHED_CORE_CREATE = 1;
const PIDTYPE_PGID = 2;

/** Sets the name that ps and top show, at most 15 bytes of it. @throws ErrnoError */
export function setName(name: string): void {
  const bytes = cstring(name);
  check(libc.prctl(PR_SET_NAME, address(bytes), 0, 0, 0), "prctl", "PR_SET_NAME");
}

const SPACE = 32;
const PR_SET_MM = 35;
const PR_SET_MM_ARG_END = 9;
/** Places of arg_start and arg_end among the fields of /proc/self/stat that follow the name. */
const ARG_START = 45;
const ARG_END = 46;

/**
 * Sets the command line that ps shows, as far as there is room where the old one was. @throws ErrnoError
 */
export function setCommandLine(args: readonly string[]): void {
  const stat = readFile("/proc/self/stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [start, end] = [Number(fields[ARG_START]), Number(fields[ARG_END])];
  const room = new Uint8Array(end - start).fill(SPACE);
  room[room.length - 1] = 0;
  const text = new TextEncoder().encode(`${args.join("\0")}\0`).subarray(0, room.length);
  room.set(text);
  const memory = open("/proc/self/mem", O.RDWR);
  try {
    check(Number(libc.lseek(memory, start, 0)), "lseek", "/proc/self/mem");
    writeAll(memory, room);
  } finally {
    close(memory);
  }
  // Without the right to it the rest stays, as an argument of spaces.
  libc.prctl(PR_SET_MM, PR_SET_MM_ARG_END, start + text.length, 0, 0);
}

/**
 * Gives this process's group a core scheduling domain of its own, which its children inherit (ST-9; containerd asks for
 * it by SCHED_CORE in the environment). @throws ErrnoError
 */
export function shareCore(): void {
  check(libc.prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PIDTYPE_PGID, 0), "prctl", "PR_SCHED_CORE");
}

/**
 * True when a process with this pid exists, has not ended, and is not ending: a killed process closes its files one
 * after another, and its sockets accept connections until it comes to them.
 */
export function isRunning(pid: number): boolean {
  const stat = readFileIfExists(`/proc/${pid}/stat`);
  if (stat === undefined) return false;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, flags] = [fields[0] ?? "X", Number(fields[6])];
  return state !== "Z" && state !== "X" && (flags & EXITING) === 0;
}

/** Who is at the ends of a FIFO: asked only when a reader was seen to go away. */

import { fileIdentity, listDirectory, pathOfOpen, readFile, readLink } from "./file.ts";
import { address, libc } from "./libc.ts";

/** Milliseconds of looking before other work gets its turn (PR-7): one process may have thousands of descriptors. */
const TURN_MS = 5;
const O_ACCMODE = 3;

const POLLHUP = 0x10;

/** True unless all writers of the pipe that `reader` is an end of have gone. */
export function hasWriters(reader: number): boolean {
  const SYS_ppoll = process.arch === "arm64" ? 73 : 271;
  // struct pollfd: fd, events, revents; a timespec of zero: no waiting
  const [asked, atOnce] = [new Int32Array([reader, 0]), new BigUint64Array(2)];
  const count = Number(libc.syscall(SYS_ppoll, address(asked), 1, address(atOnce), 0, 0));
  return count <= 0 || (((asked[1] ?? 0) >>> 16) & POLLHUP) === 0;
}

/**
 * How many descriptors of other processes read the file that we hold open as `fd`. It is told by device and inode:
 * a reader in another mount namespace has it under another name, and a client may have removed every name.
 */
export async function countReaders(fd: number): Promise<number> {
  const identity = fileIdentity(pathOfOpen(fd));
  if (identity === undefined) return 0;
  let found = 0;
  let begun = performance.now();
  for (const pid of listDirectory("/proc")) {
    const first = pid.charCodeAt(0);
    if (first < 48 || first > 57 || Number(pid) === process.pid) continue;
    found += readersIn(pid, identity);
    if (performance.now() - begun < TURN_MS) continue;
    await Bun.sleep(0);
    begun = performance.now();
  }
  return found;
}

function readersIn(pid: string, identity: string): number {
  let found = 0;
  for (const fd of attempt(() => listDirectory(`/proc/${pid}/fd`)) ?? []) {
    const link = `/proc/${pid}/fd/${fd}`;
    // Sockets, pipes and the like have no path, and need no closer look.
    if (!readLink(link)?.startsWith("/") || fileIdentity(link) !== identity) continue;
    const fdinfo = attempt(() => readFile(`/proc/${pid}/fdinfo/${fd}`));
    if (fdinfo !== undefined && isForReading(fdinfo)) found++;
  }
  return found;
}

/** Undefined for a process or descriptor that ended while we looked, or is not ours to look at. */
function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

/** True when the text of a fdinfo file says that the descriptor can be read (its flags are octal). */
function isForReading(fdinfo: string): boolean {
  const flags = /^flags:\s*([0-7]+)/m.exec(fdinfo)?.[1];
  return flags !== undefined && (Number.parseInt(flags, 8) & O_ACCMODE) !== 1;
}

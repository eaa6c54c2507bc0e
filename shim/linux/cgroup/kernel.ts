/** The few system calls that cgroups need. Absence is an ordinary answer here: a controller may be off, a cgroup gone. */

import { isErrno } from "../errno.ts";
import { close, exists, listDirectory, O, open, readFile, writeFile } from "../file.ts";
import { address, check, cstring, errno, libc } from "../libc.ts";

export { close };

/** Missing file or controller, a cgroup removed under an open file, a controller without the feature (PSI off). */
const absent = ["ENOENT", "ENODEV", "ENOTDIR", "EOPNOTSUPP", "ESRCH"];

/**
 * The text of a file of /proc or /sys; undefined when it is not there.
 * @throws ErrnoError for any other failure.
 */
export function readText(path: string): string | undefined {
  try {
    return readFile(path);
  } catch (error) {
    if (isErrno(error, ...absent)) return undefined;
    throw error;
  }
}

/** Writes to an existing file in one write. @throws ErrnoError */
export function writeText(path: string, text: string): void {
  writeFile(path, text);
}

/** The names in a directory; none when it is not there. @throws ErrnoError */
export function listNames(path: string): string[] {
  try {
    return listDirectory(path);
  } catch (error) {
    if (isErrno(error, ...absent)) {
      return [];
    }
    throw error;
  }
}

/** True when the path is a directory. */
export function isDirectory(path: string): boolean {
  return exists(`${path}/.`);
}

/** Removes a directory; "busy" when it is a cgroup that is not empty. A missing one is removed already. */
export function removeDirectory(path: string): "removed" | "busy" {
  const bytes = cstring(path);
  return libc.rmdir(bytes) < 0 && errno() === 16 ? "busy" : "removed";
}

/** Opens a file to name it to the kernel by its descriptor. @throws ErrnoError */
export function openFile(path: string): number {
  return open(path, O.RDONLY);
}

const arm = process.arch === "arm64";
const SYS_eventfd2 = arm ? 19 : 290;
const SYS_inotify_init1 = arm ? 26 : 294;
const SYS_inotify_add_watch = arm ? 27 : 254;
const IN_MODIFY = 2;

/** A counter that can be waited for; it does not block. @throws ErrnoError */
export function eventfd(): number {
  return check(Number(libc.syscall(SYS_eventfd2, 0, O.CLOEXEC | O.NONBLOCK, 0, 0, 0)), "eventfd2", "");
}

/** A descriptor that becomes readable when the file is modified; it does not block. @throws ErrnoError */
export function inotify(path: string): number {
  const fd = check(Number(libc.syscall(SYS_inotify_init1, O.CLOEXEC | O.NONBLOCK, 0, 0, 0, 0)), "inotify_init1", "");
  try {
    const bytes = cstring(path);
    check(Number(libc.syscall(SYS_inotify_add_watch, fd, address(bytes), IN_MODIFY, 0, 0)), "inotify_add_watch", path);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

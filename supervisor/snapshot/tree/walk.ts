/** Ways through trees of any depth: paths that are too long for the kernel begin at an open directory. */

import { type Bytes, O, openPath } from "../../../shim/linux/index.ts";

/** Longer paths of directories are replaced; an entry's name, of 255 bytes at most, still fits behind. */
const MAX_PATH = 3500;
const DIRECTORY = O.PATH | O.DIRECTORY | O.NOFOLLOW;

/**
 * The path of the directory, or a short one that means the same in this process. What is opened for that stays open: one
 * descriptor for some thousand bytes of depth.
 * @throws ErrnoError
 */
export function reachable(directory: Bytes): Bytes {
  return directory.length <= MAX_PATH ? directory : `/proc/self/fd/${openPath(directory, DIRECTORY)}/.`;
}

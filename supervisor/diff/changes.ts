/**
 * What differs between two trees, in the order in which it can be applied: by path, a directory before what is in it.
 * The rules are those of containerd's walking differ (continuity fs/diff.go, fs/path.go).
 */

import {
  attributeOf,
  attributesOf,
  type Bytes,
  close,
  isErrno,
  namesIn,
  O,
  openPath,
  readRange,
  readSymlink,
  S,
  type Status,
  statusOfPath,
} from "../../shim/linux/index.ts";
import { isOpaque } from "./whiteout.ts";

/** One difference; `status` is that of the upper tree. "same" is told of unchanged files with several names only. */
export type Change =
  | { readonly kind: "add" | "modify" | "same"; readonly path: Bytes; readonly status: Status }
  | { readonly kind: "delete"; readonly path: Bytes };

/** Two trees, as paths that need no link to be followed. */
export interface Trees {
  readonly lower: Bytes;
  readonly upper: Bytes;
  /**
   * Directories of an overlay that the upper tree has above the lower one, the uppermost first: what is in none of them
   * is unchanged, and is not looked at. Undefined when that is not known.
   */
  readonly above: readonly Bytes[] | undefined;
  /** The namespace of that overlay's marks. */
  readonly marks: "trusted" | "user";
}

const COMPARE_BYTES = 256 << 10;

/** All changes. @throws ErrnoError */
export function* changesOf(trees: Trees): Generator<Change> {
  yield* changesIn(trees, "", trees.above);
}

/** @param above the overlay's directories for `path`; undefined when everything must be compared */
function* changesIn(trees: Trees, path: Bytes, above: readonly Bytes[] | undefined): Generator<Change> {
  const lower = namesIfDirectory(join(trees.lower, path));
  const upper = namesIfDirectory(join(trees.upper, path));
  const touched = above && new Set(above.flatMap(namesIfDirectory));
  for (const name of merged(lower, upper)) {
    if (touched !== undefined && !touched.has(name)) continue;
    const child = join(path, name);
    const before = statusOfPath(join(trees.lower, child));
    const after = statusOfPath(join(trees.upper, child));
    if (after === undefined) {
      if (before !== undefined) yield { kind: "delete", path: child };
      continue;
    }
    const isDirectory = typeOf(after) === S.IFDIR;
    if (before === undefined) yield { kind: "add", path: child, status: after };
    else if (!isSame(trees, child, before, after)) yield { kind: "modify", path: child, status: after };
    else if (!isDirectory && after.links > 1) yield { kind: "same", path: child, status: after };
    if (!isDirectory) continue;
    if (before !== undefined && typeOf(before) === S.IFDIR) yield* changesIn(trees, child, below(trees, above, name));
    else yield* additionsIn(trees, child);
  }
}

/** Everything in a directory that the lower tree does not have. */
function* additionsIn(trees: Trees, path: Bytes): Generator<Change> {
  for (const name of namesIn(join(trees.upper, path))) {
    const child = join(path, name);
    const status = statusOfPath(join(trees.upper, child));
    if (status === undefined) continue;
    yield { kind: "add", path: child, status };
    if (typeOf(status) === S.IFDIR) yield* additionsIn(trees, child);
  }
}

/** The overlay's directories one level down; undefined where their contents alone do not tell what has changed. */
function below(trees: Trees, above: readonly Bytes[] | undefined, name: Bytes): Bytes[] | undefined {
  if (above === undefined) return undefined;
  const found: Bytes[] = [];
  for (const directory of above) {
    const path = join(directory, name);
    const status = statusOfPath(path);
    if (status === undefined) continue;
    // A whiteout, or another kind of file: what is further below does not show.
    if (typeOf(status) !== S.IFDIR) return undefined;
    if (isOpaque(path, trees.marks) || attributeOf(path, `${trees.marks}.overlay.redirect`)) return undefined;
    found.push(path);
  }
  return found;
}

function isSame(trees: Trees, path: Bytes, before: Status, after: Status): boolean {
  if (before.identity === after.identity) return true;
  const [lower, upper] = [join(trees.lower, path), join(trees.upper, path)];
  if (before.mode !== after.mode || before.uid !== after.uid || before.gid !== after.gid) return false;
  if (before.major !== after.major || before.minor !== after.minor) return false;
  if (!haveSameAttributes(lower, upper)) return false;
  if (typeOf(after) === S.IFDIR) return true;
  if (before.size !== after.size || before.modified.seconds !== after.modified.seconds) return false;
  const [a, b] = [before.modified.nanoseconds, after.modified.nanoseconds];
  if (a !== b) return false;
  // The times may have been cut when an archive was made of the files: only their contents tell.
  if (a !== 0) return true;
  if (typeOf(after) === S.IFLNK) return readSymlink(lower) === readSymlink(upper);
  return typeOf(after) !== S.IFREG || after.size === 0 || haveSameContent(lower, upper);
}

/** Extended attributes that belong into a layer: capabilities of programs, and users' own but for overlayfs' marks. */
export function layerAttributes(path: Bytes): Bytes[] {
  return attributesOf(path).filter(
    (name) => name === "security.capability" || (name.startsWith("user.") && !name.startsWith("user.overlay.")),
  );
}

function haveSameAttributes(lower: Bytes, upper: Bytes): boolean {
  const [before, after] = [layerAttributes(lower), layerAttributes(upper)];
  return (
    before.length === after.length &&
    after.every((name, i) => {
      const [a, b] = [attributeOf(lower, name), attributeOf(upper, name)];
      return before[i] === name && a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;
    })
  );
}

let buffers: readonly [Buffer, Buffer] | undefined;

function haveSameContent(lower: Bytes, upper: Bytes): boolean {
  buffers ??= [Buffer.allocUnsafeSlow(COMPARE_BYTES), Buffer.allocUnsafeSlow(COMPARE_BYTES)];
  const [a, b] = buffers;
  const from = openPath(lower, O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
  try {
    const to = openPath(upper, O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
    try {
      for (let at = 0; ; ) {
        const count = readFully(from, a, at);
        if (count !== readFully(to, b, at) || a.compare(b, 0, count, 0, count) !== 0) return false;
        if (count < COMPARE_BYTES) return true;
        at += count;
      }
    } finally {
      close(to);
    }
  } finally {
    close(from);
  }
}

function readFully(fd: number, into: Buffer, offset: number): number {
  let at = 0;
  while (at < into.length) {
    const count = readRange(fd, into, at, into.length, offset + at);
    if (count === 0) break;
    at += count;
  }
  return at;
}

function namesIfDirectory(path: Bytes): Bytes[] {
  try {
    return namesIn(path);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return [];
    throw error;
  }
}

function merged(a: readonly Bytes[], b: readonly Bytes[]): Bytes[] {
  return [...new Set([...a, ...b])].sort();
}

function typeOf(status: Status): number {
  return status.mode & S.IFMT;
}

function join(directory: Bytes, name: Bytes): Bytes {
  if (directory === "") return name;
  return name === "" ? directory : `${directory}/${name}`;
}

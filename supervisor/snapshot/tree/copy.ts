/** Copies a tree of files with all that belongs to it: for the process that does nothing else. */

import {
  attributeOf,
  attributesOf,
  type Bytes,
  close,
  copyData,
  createFile,
  makeDirectoryAt,
  makeLink,
  makeNode,
  makeSymlink,
  namesIn,
  O,
  openPath,
  readSymlink,
  S,
  type Status,
  setAttribute,
  setFileSize,
  setMode,
  setOwner,
  setTimes,
  statusOfPath,
} from "../../../shim/linux/index.ts";
import { reachable } from "./walk.ts";

const PERMISSIONS = 0o7777;

/**
 * Copies what is in the directory `from` into the empty directory `to`, and its own attributes: contents (shared and with
 * holes where the file system can), owners, modes, times, extended attributes, hard links, device nodes.
 * @throws ErrnoError
 */
export function copyTree(from: Bytes, to: Bytes): void {
  const linked = new Map<string, Bytes>();
  const entered: Array<{ from: Bytes; to: Bytes; status: Status }> = [];
  const left: Array<{ from: Bytes; to: Bytes; status: Status }> = [];
  const enter = (source: Bytes, target: Bytes, status: Status): void => {
    left.push({ from: reachable(source), to: reachable(target), status });
  };
  const root = statusOfPath(from);
  if (root === undefined) throw new Error(`${from} is not there`);
  enter(from, to, root);
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    entered.push(next);
    for (const name of namesIn(next.from)) {
      const [source, target] = [`${next.from}/${name}`, `${next.to}/${name}`];
      const status = statusOfPath(source);
      if (status === undefined) continue;
      if ((status.mode & S.IFMT) === S.IFDIR) {
        makeDirectoryAt(target, 0o700);
        enter(source, target, status);
        continue;
      }
      const other = status.links > 1 ? linked.get(status.identity) : undefined;
      if (other !== undefined) {
        makeLink(other, target);
        continue;
      }
      if (status.links > 1) linked.set(status.identity, target);
      copyEntry(source, target, status);
      copyAttributes(source, target, status);
    }
  }
  // Making entries changes the times of their directory, so directories come last, the deepest first.
  for (const directory of entered.reverse()) copyAttributes(directory.from, directory.to, directory.status);
}

function copyEntry(source: Bytes, target: Bytes, status: Status): void {
  switch (status.mode & S.IFMT) {
    case S.IFREG:
      copyFile(source, target, status.size);
      break;
    case S.IFLNK:
      makeSymlink(readSymlink(source), target);
      break;
    default:
      makeNode(target, status.mode, status.major, status.minor);
  }
}

function copyFile(source: Bytes, target: Bytes, size: number): void {
  const input = openPath(source, O.RDONLY | O.NOFOLLOW);
  try {
    const output = createFile(target, 0o600);
    try {
      copyData(input, output, size);
      setFileSize(output, size);
    } finally {
      close(output);
    }
  } finally {
    close(input);
  }
}

/** The owner before the mode and the attributes: a new owner takes set-id bits and capabilities away. */
function copyAttributes(source: Bytes, target: Bytes, status: Status): void {
  setOwner(target, status.uid, status.gid);
  if ((status.mode & S.IFMT) !== S.IFLNK) setMode(target, status.mode & PERMISSIONS);
  for (const name of attributesOf(source)) {
    const value = attributeOf(source, name);
    if (value !== undefined) setAttribute(target, name, value);
  }
  setTimes(target, status.accessed, status.modified);
}

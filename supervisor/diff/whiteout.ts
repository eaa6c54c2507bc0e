/** Whiteouts: entries of a layer that say what of the layers below is gone (OCI image specification, layer.md). */

import {
  attributeOf,
  type Bytes,
  close,
  isErrno,
  makeNode,
  O,
  openPath,
  readNames,
  removeTree,
  S,
  type Status,
  setAttribute,
  setOwner,
  show,
  statusOfPath,
} from "../../shim/linux/index.ts";
import { parentOf } from "./path.ts";
import { ArchiveError } from "./tar/entry.ts";

/** Prefix of the name of a whiteout. */
export const WHITEOUT = ".wh.";
/** Prefix of names that are reserved for more. */
const META = ".wh..wh.";
/** Name of the whiteout that hides all that layers below have in its directory. */
export const OPAQUE = ".wh..wh..opq";

/**
 * How removals are written down: "remove" where the root shows the layers below too and what goes is removed;
 * "trusted" and "user" where the root is the upper directory of an overlay, by the namespace of its marks; "none" for an
 * archive that is no layer, in which no name says that something is gone.
 */
export type Marks = "remove" | "trusted" | "user" | "none";

const yes = new TextEncoder().encode("y");

/** The whiteouts of one layer, which never touch what the layer itself brings. */
export class Whiteouts {
  readonly #marks: Marks;
  readonly #brought = new Set<Bytes>();

  constructor(marks: Marks) {
    this.#marks = marks;
  }

  /** True for names that are no files. */
  isReserved(base: Bytes): boolean {
    return this.#marks !== "none" && base.startsWith(WHITEOUT);
  }

  /** Notes that the layer brought this path, and with it those above. */
  remember(path: Bytes): void {
    for (let at = path; at !== "" && !this.#brought.has(at); at = parentOf(at)) this.#brought.add(at);
  }

  /**
   * Does what the whiteout `base` in `directory` says.
   * @throws ArchiveError for one that names nothing; ErrnoError ENOENT when the directory is missing
   */
  apply(directory: Bytes, base: Bytes, uid: number, gid: number): void {
    if (base === OPAQUE) {
      this.#makeOpaque(directory);
      return;
    }
    // Left-overs of aufs.
    if (base.startsWith(META)) return;
    const name = base.slice(WHITEOUT.length);
    if (name === "" || name === "." || name === "..") {
      throw new ArchiveError(`invalid whiteout name ${JSON.stringify(show(base))}`);
    }
    const path = directory === "" ? name : `${directory}/${name}`;
    if (this.#marks === "remove") {
      if (!this.#brought.has(path)) removeTree(path);
      else this.#removeUnbrought(path);
      return;
    }
    if (this.#brought.has(path)) {
      const status = statusOfPath(path);
      if (status !== undefined && (status.mode & S.IFMT) === S.IFDIR) this.#setOpaque(path);
      return;
    }
    try {
      makeNode(path, S.IFCHR, 0, 0);
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
      removeTree(path);
      makeNode(path, S.IFCHR, 0, 0);
    }
    setOwner(path, uid, gid);
  }

  /** A directory was made in the place of `status`. */
  replaced(path: Bytes, status: Status): void {
    const isWhiteout = (status.mode & S.IFMT) === S.IFCHR && status.major === 0 && status.minor === 0;
    if (isWhiteout && this.#marks !== "remove" && this.#marks !== "none") this.#setOpaque(path);
  }

  #makeOpaque(directory: Bytes): void {
    if (this.#marks === "remove") this.#removeUnbrought(directory);
    else this.#setOpaque(itself(directory));
  }

  #setOpaque(path: Bytes): void {
    setAttribute(path, `${this.#marks}.overlay.opaque`, yes);
  }

  /** Removes all below a directory but what the layer brought. */
  #removeUnbrought(directory: Bytes): void {
    const path = itself(directory);
    const status = statusOfPath(path);
    if (status === undefined || (status.mode & S.IFMT) !== S.IFDIR) return;
    const kept: Bytes[] = [];
    for (const name of allNames(path)) {
      const child = directory === "" ? name : `${directory}/${name}`;
      if (this.#brought.has(child)) kept.push(child);
      else removeTree(child);
    }
    for (const child of kept) this.#removeUnbrought(child);
  }
}

/** The directory as a path that ends in no symbolic link. */
function itself(directory: Bytes): Bytes {
  return directory === "" ? "." : `${directory}/.`;
}

function allNames(path: Bytes): Bytes[] {
  const fd = openPath(path, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
  const names: Bytes[] = [];
  try {
    for (let some = readNames(fd); some !== undefined; some = readNames(fd)) {
      for (const { name } of some) names.push(name);
    }
    return names;
  } finally {
    close(fd);
  }
}

/** True when overlayfs shows nothing of the layers below in this directory of an upper one. */
export function isOpaque(path: Bytes, marks: "trusted" | "user"): boolean {
  const value = attributeOf(path, `${marks}.overlay.opaque`);
  return value !== undefined && value.length === 1 && value[0] === 0x79;
}

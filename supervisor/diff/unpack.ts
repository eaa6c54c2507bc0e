/**
 * Writes the entries of a layer as files below the process's root. All paths are resolved by the kernel against that
 * root, so that no link and no ".." leads out of it; what a layer may set is decided here.
 */

import {
  type Bytes,
  close,
  createFile,
  isErrno,
  makeDirectoryAt,
  makeLink,
  makeNode,
  makeSymlink,
  removeTree,
  S,
  type Status,
  setAttribute,
  setFileMode,
  setFileOwner,
  setFileSize,
  setFileTimes,
  setMode,
  setOwner,
  setTimes,
  show,
  statusOfPath,
  type Time,
  writeRange,
  writeRangeAt,
} from "../../shim/linux/index.ts";
import { checkLimit, type Limits } from "./limits.ts";
import { ensureDirectory } from "./parents.ts";
import { baseOf, cleanPath, parentOf } from "./path.ts";
import { ArchiveError, type Entry } from "./tar/entry.ts";
import type { TarReader } from "./tar/reader.ts";
import { type Marks, Whiteouts } from "./whiteout.ts";

/** The most that the kernel's device numbers hold. */
const MAX_MAJOR = 0xfff;
const MAX_MINOR = 0xfffff;
/** The kernel's own "no change", so no owner. */
const MAX_ID = 0xfffffffe;
/** Times that containerd cannot hold either are set to the epoch (core archive's boundTime). */
const MAX_SECONDS = 9_223_372_036;
const epoch: Time = { seconds: 0, nanoseconds: 0 };

const nodeTypes = { character: S.IFCHR, block: S.IFBLK, fifo: S.IFIFO } as const;

/** What is known of the place that a layer is written to. */
export interface Place {
  /** How removals of what layers below have are written down. */
  readonly marks: Marks;
  /** Open directories of the layers below, the uppermost first, where the root shows this layer alone. */
  readonly lowers: readonly number[];
}

/** Unpacks one layer. */
export class Unpacker {
  readonly #reader: TarReader;
  readonly #place: Place;
  readonly #limits: Limits;
  readonly #whiteouts: Whiteouts;
  /** Times of directories, set at the end: each file made in one changes them. */
  readonly #directories = new Map<Bytes, readonly [accessed: Time, modified: Time]>();
  #entries = 0;
  #nameBytes = 0;

  constructor(reader: TarReader, place: Place, limits: Limits) {
    this.#reader = reader;
    this.#place = place;
    this.#limits = limits;
    this.#whiteouts = new Whiteouts(place.marks);
  }

  /**
   * Unpacks everything.
   * @throws ArchiveError, LimitError for a layer that is refused; ErrnoError for what the file system refuses
   */
  run(): void {
    for (let entry = this.#reader.next(); entry !== undefined; entry = this.#reader.next()) {
      checkLimit(++this.#entries, this.#limits.entries, `${this.#entries} entries`);
      if (entry.type !== "global") this.#add(entry);
    }
    for (const [path, [accessed, modified]] of this.#directories) {
      try {
        setTimes(path, accessed, modified);
      } catch (error) {
        // It was removed or replaced by a later entry.
        if (!isErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) throw error;
      }
    }
  }

  #add(entry: Entry): void {
    const path = cleanPath(entry.name);
    // The root is not the layer's to change.
    if (path === "") return;
    this.#checkPath(path);
    if (this.#whiteouts.isReserved(baseOf(path))) {
      const directory = parentOf(path);
      this.#withParent(directory, () => this.#whiteouts.apply(directory, baseOf(path), entry.uid, entry.gid));
      return;
    }
    this.#check(entry, path);
    this.#make(entry, path);
    this.#whiteouts.remember(path);
  }

  #checkPath(path: Bytes): void {
    const { pathBytes, depth, nameBytes } = this.#limits;
    checkLimit(path.length, pathBytes, `a path of ${path.length} bytes`);
    let parts = 1;
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) parts++;
    checkLimit(parts, depth, `a path of ${parts} directories`);
    // Twice at most: as a directory, and as what this layer brought.
    this.#nameBytes += 2 * path.length;
    checkLimit(this.#nameBytes, nameBytes, `${this.#nameBytes} bytes of names`);
  }

  /** @throws ArchiveError, LimitError */
  #check(entry: Entry, path: Bytes): void {
    if (entry.type === "unknown") {
      throw new ArchiveError(`unhandled tar header type ${entry.flag} for ${JSON.stringify(show(path))}`);
    }
    checkLimit(entry.size, this.#limits.fileBytes, `a file of ${entry.size} bytes`);
    if (entry.uid < 0 || entry.uid > MAX_ID || entry.gid < 0 || entry.gid > MAX_ID) {
      throw new ArchiveError(`owner ${entry.uid}:${entry.gid} of ${JSON.stringify(show(path))} is out of range`);
    }
    if (entry.type === "character" || entry.type === "block") {
      const { major, minor } = entry;
      if (major < 0 || major > MAX_MAJOR || minor < 0 || minor > MAX_MINOR) {
        throw new ArchiveError(`device number ${major}:${minor} of ${JSON.stringify(show(path))} is out of range`);
      }
    }
    if ((entry.type === "link" || entry.type === "symlink") && entry.target === "") {
      throw new ArchiveError(`link ${JSON.stringify(show(path))} without a target`);
    }
  }

  #make(entry: Entry, path: Bytes): void {
    const modified = bounded(entry.modified);
    const accessed = entry.accessed === undefined ? modified : later(bounded(entry.accessed), modified);
    switch (entry.type) {
      case "file":
        this.#makeFile(entry, path, accessed, modified);
        return;
      case "directory":
        this.#makeDirectory(entry, path);
        this.#setStatus(entry, path, true);
        this.#directories.set(path, [accessed, modified]);
        return;
      case "symlink":
        this.#create(path, () => makeSymlink(entry.target, path));
        this.#setStatus(entry, path, false);
        break;
      case "link":
        this.#makeLink(entry, path);
        break;
      case "character":
      case "block":
      case "fifo": {
        const mode = entry.mode | nodeTypes[entry.type];
        const [major, minor] = entry.type === "fifo" ? [0, 0] : [entry.major, entry.minor];
        this.#create(path, () => makeNode(path, mode, major, minor));
        this.#setStatus(entry, path, true);
        break;
      }
    }
    setTimes(path, accessed, modified);
  }

  #makeFile(entry: Entry, path: Bytes, accessed: Time, modified: Time): void {
    const fd = this.#create(path, () => createFile(path, entry.mode));
    try {
      if (entry.segments === undefined) {
        if (entry.size > 0) this.#reader.content((buffer, from, to) => writeRange(fd, buffer, from, to));
      } else {
        for (const { offset, length } of entry.segments) {
          let at = offset;
          this.#reader.contentPart(length, (buffer, from, to) => {
            writeRangeAt(fd, buffer, from, to, at);
            at += to - from;
          });
        }
        setFileSize(fd, entry.size);
      }
      setFileOwner(fd, entry.uid, entry.gid);
      this.#setAttributes(entry, path);
      setFileMode(fd, entry.mode);
      setFileTimes(fd, accessed, modified);
    } finally {
      close(fd);
    }
  }

  #makeDirectory(entry: Entry, path: Bytes): void {
    try {
      this.#withParent(parentOf(path), () => makeDirectoryAt(path, entry.mode));
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
      const status = statusOfPath(path);
      if (status !== undefined && (status.mode & S.IFMT) === S.IFDIR) return;
      this.#remove(path);
      makeDirectoryAt(path, entry.mode);
      // The directory below that a whiteout of this layer hid must stay hidden behind the new one.
      if (status !== undefined) this.#whiteouts.replaced(path, status);
    }
  }

  #makeLink(entry: Entry, path: Bytes): void {
    const target = cleanPath(entry.target);
    try {
      this.#create(path, () => makeLink(target, path));
    } catch (error) {
      if (!isErrno(error, "ENOENT", "EPERM", "ENOTDIR")) throw error;
      const [from, to] = [JSON.stringify(show(path)), JSON.stringify(show(entry.target))];
      throw new ArchiveError(`hard link ${from} to ${to}, which is no file that this layer has brought before`);
    }
    const status = statusOfPath(path);
    const isSymlink = status !== undefined && (status.mode & S.IFMT) === S.IFLNK;
    this.#setStatus(entry, path, !isSymlink);
  }

  /** Owner, then what a change of owner would cut: attributes and mode. */
  #setStatus(entry: Entry, path: Bytes, hasMode: boolean): void {
    setOwner(path, entry.uid, entry.gid);
    this.#setAttributes(entry, path);
    if (hasMode) setMode(path, entry.mode);
  }

  #setAttributes(entry: Entry, path: Bytes): void {
    for (const [name, value] of entry.attributes) {
      // Only the administrator's own programs write these; overlayfs takes orders from them.
      if (name.startsWith("trusted.") || name.startsWith("user.overlay.")) continue;
      try {
        setAttribute(path, name, Buffer.from(value, "latin1"));
      } catch (error) {
        // The file system has none, or none of users' on what is neither a file nor a directory.
        const isUsers = name.startsWith("user.") && entry.type !== "file" && entry.type !== "directory";
        if (!isErrno(error, "EOPNOTSUPP") && !(isUsers && isErrno(error, "EPERM"))) throw error;
      }
    }
  }

  /** Makes something; what is in its place goes, the directories above it come. */
  #create<R>(path: Bytes, make: () => R): R {
    try {
      return this.#withParent(parentOf(path), make);
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
      this.#remove(path);
      return make();
    }
  }

  #remove(path: Bytes): void {
    this.#directories.delete(path);
    removeTree(path);
  }

  #withParent<R>(directory: Bytes, action: () => R): R {
    try {
      return action();
    } catch (error) {
      if (directory === "" || !isErrno(error, "ENOENT")) throw error;
      ensureDirectory(directory, this.#place.lowers, (made, lower) => this.#onMade(made, lower));
      return action();
    }
  }

  #onMade(path: Bytes, lower: Status | undefined): void {
    this.#whiteouts.remember(path);
    if (lower !== undefined) this.#directories.set(path, [lower.accessed, lower.modified]);
  }
}

function bounded(time: Time): Time {
  return time.seconds < 0 || time.seconds > MAX_SECONDS ? epoch : time;
}

function later(a: Time, b: Time): Time {
  return a.seconds > b.seconds || (a.seconds === b.seconds && a.nanoseconds > b.nanoseconds) ? a : b;
}

/** Writes changes as a layer (OCI image specification, layer.md), as containerd's change writer does. */

import {
  attributeOf,
  type Bytes,
  close,
  ErrnoError,
  O,
  openPath,
  readRange,
  readSymlink,
  S,
  type Status,
  show,
  statusOfPath,
} from "../../shim/linux/index.ts";
import { type Change, layerAttributes } from "./changes.ts";
import { sparseOf } from "./holes.ts";
import { baseOf, parentOf } from "./path.ts";
import type { TarWriter } from "./tar/writer.ts";
import { WHITEOUT } from "./whiteout.ts";

const READ_BYTES = 256 << 10;
const EIO = 5;

const typeFlags = new Map<number, string>([
  [S.IFREG, "0"],
  [S.IFLNK, "2"],
  [S.IFCHR, "3"],
  [S.IFBLK, "4"],
  [S.IFDIR, "5"],
  [S.IFIFO, "6"],
]);

/** Writes one layer. */
export class LayerWriter {
  readonly #tar: TarWriter;
  readonly #root: Bytes;
  readonly #latest: number;
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  readonly #directories = new Set<Bytes>();
  /** Files with several names: the name that each was written under, and those that came before it. */
  readonly #written = new Map<string, Bytes>();
  readonly #waiting = new Map<string, Bytes[]>();

  /**
   * @param root of the upper tree
   * @param latest no time in the layer is after this one (SOURCE_DATE_EPOCH), in seconds
   */
  constructor(tar: TarWriter, root: Bytes, latest: number = Number.POSITIVE_INFINITY) {
    this.#tar = tar;
    this.#root = root;
    this.#latest = latest;
  }

  /** Writes one change; they come by path. @throws ErrnoError */
  add(change: Change): void {
    if (change.kind === "delete") this.#whiteout(change.path);
    else this.#file(change.path, change.status, change.kind === "same");
  }

  #whiteout(path: Bytes): void {
    const parent = parentOf(path);
    const name = `${parent === "" ? "" : `${parent}/`}${WHITEOUT}${baseOf(path)}`;
    this.#parents(path);
    this.#tar.header({ type: "0", name, mode: 0, uid: 0, gid: 0, size: 0, modified: 0 });
  }

  #file(path: Bytes, status: Status, isUnchanged: boolean): void {
    const type = typeFlags.get(status.mode & S.IFMT);
    // A socket belongs to whoever listens on it.
    if (type === undefined) return;
    const earlier: Bytes[] = [];
    if (type !== "5" && status.links > 1) {
      const source = this.#written.get(status.identity);
      if (source !== undefined) {
        this.#link(path, source, status);
        return;
      }
      const waiting = this.#waiting.get(status.identity) ?? [];
      if (isUnchanged) {
        this.#waiting.set(status.identity, [...waiting, path]);
        return;
      }
      this.#written.set(status.identity, path);
      this.#waiting.delete(status.identity);
      earlier.push(...waiting);
    } else if (isUnchanged) return;
    this.#parents(path);
    if (type === "5") this.#directories.add(path);
    this.#entry(type, path, status);
    for (const name of earlier) this.#link(name, path, status);
  }

  #entry(type: string, path: Bytes, status: Status): void {
    const source = `${this.#root}/${path}`;
    if (type === "0" && status.size > 0) {
      this.#content(path, source, status);
      return;
    }
    const isDevice = type === "3" || type === "4";
    this.#tar.header({
      ...this.#common(status, source),
      type,
      name: type === "5" ? `${path}/` : path,
      target: type === "2" ? readSymlink(source) : "",
      size: 0,
      major: isDevice ? status.major : 0,
      minor: isDevice ? status.minor : 0,
    });
  }

  #link(path: Bytes, target: Bytes, status: Status): void {
    this.#parents(path);
    this.#tar.header({ ...this.#common(status, `${this.#root}/${path}`), type: "1", name: path, target, size: 0 });
  }

  #common(status: Status, source: Bytes) {
    const { uid, gid, mode, modified } = status;
    const records = new Map<Bytes, Bytes>();
    for (const name of layerAttributes(source)) {
      const value = attributeOf(source, name);
      if (value !== undefined && value.length > 0) {
        records.set(`SCHILY.xattr.${name}`, Buffer.from(value).toString("latin1"));
      }
    }
    return { uid, gid, mode: mode & 0o7777, modified: Math.min(modified.seconds, this.#latest), records };
  }

  #content(path: Bytes, source: Bytes, status: Status): void {
    const common = this.#common(status, source);
    const fd = openPath(source, O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
    try {
      const { size } = status;
      const sparse = sparseOf(fd, path, size, status.allocated);
      if (sparse === undefined) {
        this.#tar.header({ ...common, type: "0", name: path, size });
        this.#copy(fd, source, 0, size);
        this.#tar.pad(size);
        return;
      }
      const name = `${parentOf(path)}/GNUSparseFile.0/${baseOf(path)}`.replace(/^\//, "");
      const records = new Map([...common.records, ...sparse.records]);
      this.#tar.header({ ...common, records, type: "0", name, size: sparse.size });
      this.#tar.content(sparse.map, 0, sparse.map.length);
      for (const { offset, length } of sparse.segments) this.#copy(fd, source, offset, length);
      this.#tar.pad(sparse.size);
    } finally {
      close(fd);
    }
  }

  #copy(fd: number, source: Bytes, from: number, length: number): void {
    for (let done = 0; done < length; ) {
      const count = readRange(fd, this.#buffer, 0, Math.min(READ_BYTES, length - done), from + done);
      if (count === 0) throw new ErrnoError(EIO, "read (the file has become shorter meanwhile)", show(source));
      this.#tar.content(this.#buffer, 0, count);
      done += count;
    }
  }

  /** Writes the directories above that have not been written, which a reader would otherwise have to make up. */
  #parents(path: Bytes): void {
    const parent = parentOf(path);
    if (parent === "" || this.#directories.has(parent)) return;
    this.#directories.add(parent);
    const status = statusOfPath(`${this.#root}/${parent}`);
    if (status === undefined) return;
    this.#parents(parent);
    this.#entry("5", parent, status);
  }
}

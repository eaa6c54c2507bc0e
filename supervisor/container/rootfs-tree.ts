/**
 * Looks into a snapshot without mounting it: finds a path in the layers of an overlay, or in the one directory of a bind
 * mount, as a process in the container would. All of it comes out of an image: links never lead out of the tree, and
 * nothing is opened that is no regular file.
 */

import { closeSync, constants, fstatSync, lstatSync, openSync, readlinkSync, readSync, type Stats } from "node:fs";
import { join } from "node:path";
import { invalidArgument } from "../../proto/errdefs.ts";
import { attributeOf, bytesOf, splitLower, unquote } from "../../shim/linux/index.ts";

/** A mount as Snapshots answers it. */
export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** Mounts as a message has them, with what is absent filled in. */
export function rootfsMounts(
  mounts: readonly {
    readonly type?: string | null | undefined;
    readonly source?: string | null | undefined;
    readonly target?: string | null | undefined;
    readonly options?: readonly string[] | null | undefined;
  }[],
): RootfsMount[] {
  return mounts.map(({ type, source, options }) => ({
    type: type ?? "",
    source: source ?? "",
    options: options ?? [],
  }));
}

/** Links followed on one way, as the kernel's. */
const MAX_LINKS = 40;

/** What was found. */
export interface TreeEntry {
  /** The way to it in the tree, without links: `/` or `/a/b`. */
  readonly path: string;
  /** Where it is on this machine, in the uppermost layer that has it. */
  readonly file: string;
  readonly stats: Stats;
}

/** The tree that the mounts of a snapshot show. */
export class RootfsTree {
  /** Directories of the layers, uppermost first. */
  readonly #layers: readonly string[];

  /** @throws ContainerdError InvalidArgument for mounts that are no directories of this machine */
  constructor(mounts: readonly RootfsMount[]) {
    this.#layers = layersOf(mounts);
  }

  /** Follows a path, links and all; undefined when there is nothing. @param path absolute, in the tree */
  find(path: string): TreeEntry | undefined {
    return this.#walk(path, MAX_LINKS);
  }

  /**
   * Reads a regular file.
   * @param most bytes; of a longer file only the beginning is read
   * @returns undefined when there is none
   */
  read(path: string, most: number): string | undefined {
    const entry = this.find(path);
    if (entry === undefined || !entry.stats.isFile()) return undefined;
    const fd = openSync(entry.file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if (!fstatSync(fd).isFile()) return undefined;
      const buffer = Buffer.alloc(Math.min(most, fstatSync(fd).size));
      let size = 0;
      for (let n = -1; n !== 0 && size < buffer.length; size += n)
        n = readSync(fd, buffer, size, buffer.length - size, size);
      return buffer.toString("utf8", 0, size);
    } finally {
      closeSync(fd);
    }
  }

  #walk(path: string, links: number): TreeEntry | undefined {
    let [layers, way] = [this.#layers, ""];
    const parts = path.split("/").filter((part) => part !== "" && part !== ".");
    for (let at = 0; at < parts.length; at++) {
      const part = parts[at] ?? "";
      const rest = parts.slice(at + 1);
      if (part === "..") return this.#walk([...way.split("/").slice(0, -1), ...rest].join("/"), links);
      const found = entryIn(layers, part);
      if (found === undefined) return undefined;
      const next = `${way}/${part}`;
      const { file, stats } = found;
      if (stats.isSymbolicLink()) {
        if (links === 0) return undefined;
        const target = readlinkSync(file);
        const from = target.startsWith("/") ? "" : way;
        return this.#walk([from, target, ...rest].join("/"), links - 1);
      }
      if (rest.length === 0) return { path: next, file, stats };
      if (!stats.isDirectory()) return undefined;
      [layers, way] = [found.layers, next];
    }
    const [top] = layers;
    return top === undefined ? undefined : { path: way || "/", file: top, stats: lstatSync(top) };
  }
}

/** The entry of a directory that several layers have; `layers` are those that have it as a directory. */
function entryIn(
  layers: readonly string[],
  name: string,
): { file: string; stats: Stats; layers: readonly string[] } | undefined {
  const found: string[] = [];
  let top: { file: string; stats: Stats } | undefined;
  for (const layer of layers) {
    const file = join(layer, name);
    const stats = lstatSync(file, { throwIfNoEntry: false });
    if (stats === undefined) continue;
    // A whiteout: what lies below is gone.
    if (stats.isCharacterDevice() && stats.rdev === 0) break;
    if (top !== undefined && !stats.isDirectory()) break;
    top ??= { file, stats };
    if (!stats.isDirectory()) break;
    found.push(file);
    if (isOpaque(file)) break;
  }
  return top === undefined ? undefined : { ...top, layers: found };
}

function isOpaque(directory: string): boolean {
  return ["trusted", "user"].some((marks) => {
    const value = attributeOf(bytesOf(directory), `${marks}.overlay.opaque`);
    return value !== undefined && value[0] === 0x79;
  });
}

function layersOf(mounts: readonly RootfsMount[]): string[] {
  const [mount] = mounts;
  if (mount !== undefined && mounts.length === 1) {
    if (mount.type === "bind") return [mount.source];
    if (mount.type === "overlay") {
      const option = (name: string): string | undefined =>
        mount.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
      const upper = option("upperdir");
      const lower = option("lowerdir");
      return [
        ...(upper === undefined ? [] : [unquote(upper)]),
        ...(lower === undefined ? [] : splitLower(lower).map(unquote)),
      ];
    }
  }
  const types = mounts.map(({ type }) => type).join(", ");
  throw invalidArgument(`cannot look into a snapshot of mounts of type ${types || "none"}: give --user as numbers`);
}

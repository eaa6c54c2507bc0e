/** A place to apply layers to, and a look at what came out. */

import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attributeOf, attributesOf, type Mount } from "../../../../shim/linux/index.ts";
import { LAYER_TAR } from "../../../../supervisor/diff/compression.ts";
import { type Descriptor, Diff } from "../../../../supervisor/diff/diff.ts";
import type { Limits } from "../../../../supervisor/diff/limits.ts";

/** Why these tests cannot run here; undefined when they can. */
export const skipped = process.getuid?.() === 0 ? undefined : "needs root";

/** What a path is, in few words. */
export interface Seen {
  type: string;
  mode: number;
  uid: number;
  gid: number;
  mtime: number;
}

/** A directory with layers in it; gone with {@link Symbol.dispose}. */
export class Place implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "berth-diff-"));
  readonly diff: Diff;
  #blobs = 0;

  constructor(limits?: Partial<Limits>) {
    this.diff = new Diff({ mountPoint: join(this.directory, "mount"), limits });
  }

  /** A path in the place; its directory is made when it is missing. */
  path(name: string): string {
    const path = join(this.directory, name);
    mkdirSync(join(path, ".."), { recursive: true });
    return path;
  }

  /** A new directory. */
  make(name: string): string {
    const path = this.path(name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** A bind mount of a directory, which is made. */
  bind(name: string): Mount[] {
    return [{ type: "bind", source: this.make(name), target: "", options: ["rbind", "rw"] }];
  }

  /** An overlay whose upper directory and lower ones are made. */
  overlay(upper: string, ...lowers: string[]): Mount[] {
    const lowerdir = lowers.map((lower) => this.make(lower)).join(":");
    const options = [`workdir=${this.make(`${upper}.work`)}`, `upperdir=${this.make(upper)}`, `lowerdir=${lowerdir}`];
    return [{ type: "overlay", source: "overlay", target: "", options }];
  }

  /** Applies a layer whose bytes are given. */
  apply(
    bytes: Uint8Array,
    mounts: readonly Mount[],
    options: { mediaType?: string; signal?: AbortSignal; syncFs?: boolean } = {},
  ): Promise<Descriptor> {
    const blobPath = this.path(`blob${this.#blobs++}`);
    writeFileSync(blobPath, bytes);
    const { mediaType = LAYER_TAR, ...rest } = options;
    return this.diff.apply({ mediaType, digest: "", size: bytes.length }, mounts, { blobPath, ...rest });
  }

  /** All paths below a directory, sorted. */
  tree(name: string): string[] {
    const found: string[] = [];
    const walk = (directory: string, path: string): void => {
      for (const child of readdirSync(directory).sort()) {
        const [full, shown] = [join(directory, child), path === "" ? child : `${path}/${child}`];
        found.push(shown);
        if (lstatSync(full).isDirectory()) walk(full, shown);
      }
    };
    walk(join(this.directory, name), "");
    return found;
  }

  /** What a path is. */
  see(name: string): Seen {
    const stat = lstatSync(join(this.directory, name));
    const type = stat.isFile()
      ? "file"
      : stat.isDirectory()
        ? "directory"
        : stat.isSymbolicLink()
          ? `-> ${readlinkSync(join(this.directory, name))}`
          : stat.isFIFO()
            ? "fifo"
            : `${stat.isCharacterDevice() ? "c" : "b"} ${(stat.rdev >> 8) & 0xfff}:${(stat.rdev & 0xff) | ((stat.rdev >> 12) & 0xfff00)}`;
    return { type, mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid, mtime: stat.mtimeMs / 1000 };
  }

  /** Extended attributes of a path. */
  attributes(name: string): Record<string, string> {
    const path = Buffer.from(join(this.directory, name)).toString("latin1");
    return Object.fromEntries(
      attributesOf(path).map((key) => [key, Buffer.from(attributeOf(path, key) ?? []).toString("latin1")]),
    );
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

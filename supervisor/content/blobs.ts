/** Files of blobs: put in place, read, removed. */

import { chmod, type FileHandle, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isDigest } from "./digest.ts";
import { errnoOf, syncDirectory } from "./disk.ts";
import type { Layout } from "./layout.ts";
import { Coalesced } from "./lock.ts";

/** The files of one content store. */
export class BlobFiles {
  readonly #layout: Layout;
  readonly #sync: Coalesced;

  constructor(layout: Layout) {
    this.#layout = layout;
    this.#sync = new Coalesced(() => syncDirectory(layout.blobs));
  }

  /** Makes the directories, so that they survive a power cut. */
  async prepare(): Promise<void> {
    const { root, blobs, ingests } = this.#layout;
    await mkdir(blobs, { recursive: true, mode: 0o755 });
    await mkdir(ingests, { recursive: true, mode: 0o755 });
    for (const path of [dirname(blobs), root, dirname(root)]) await syncDirectory(path);
  }

  /**
   * Moves a written and synced file to where its blob is looked for, in the place of what may be there. When this
   * resolves it survives a power cut.
   */
  async put(path: string, digest: string): Promise<void> {
    await chmod(path, 0o444);
    await rename(path, this.#layout.blob(digest));
    await this.#sync.run();
  }

  /** Opens the file of a blob. @returns undefined when it is not there */
  async open(digest: string): Promise<FileHandle | undefined> {
    try {
      return await open(this.#layout.blob(digest), "r");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Removes the file of a blob, if it is there. */
  async remove(digest: string): Promise<void> {
    await rm(this.#layout.blob(digest), { force: true });
  }

  /** Digests of all files, by their names. */
  async list(): Promise<string[]> {
    const directory = dirname(this.#layout.blobs);
    const digests: string[] = [];
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      for (const hex of await readdir(join(directory, entry.name))) {
        const digest = `${entry.name}:${hex}`;
        if (isDigest(digest)) digests.push(digest);
      }
    }
    return digests;
  }
}

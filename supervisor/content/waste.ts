/**
 * Files that nobody needs: of blobs that no namespace has any more, and of ingests that are over. They are removed in
 * the background; a crash leaves them, and the next start looks for them.
 */

import { readdir } from "node:fs/promises";
import type { Database } from "../store/database.ts";
import type { BlobFiles } from "./blobs.ts";
import { isDigest } from "./digest.ts";
import type { Health } from "./health.ts";
import { removeIngest } from "./ingest.ts";
import type { Layout } from "./layout.ts";
import type { KeyedMutex } from "./lock.ts";
import type { OpenFiles } from "./reader.ts";
import type { Records } from "./records.ts";

/** Files that are removed at the same time. */
const MAX_REMOVALS = 16;

/** What removing files of a content store takes. */
export interface WasteParts {
  readonly options: {
    readonly database: Pick<Database, "durable">;
    readonly onError?: (what: string, error: unknown) => void;
  };
  readonly layout: Layout;
  readonly records: Records;
  readonly health: Health;
  readonly files: BlobFiles;
  readonly opened: OpenFiles;
  readonly digests: KeyedMutex;
}

/** The waste of one content store. */
export class Waste {
  readonly #parts: WasteParts;
  readonly #running = new Set<Promise<void>>();

  constructor(parts: WasteParts) {
    this.#parts = parts;
  }

  /** Resolves when no removal is under way. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  /**
   * Removes the files of those blobs that no namespace has and no ingest waits for, once that is on disk. Resolves when
   * they are gone, and does not fail: what stays is removed by the next {@link sweep}.
   */
  async removeBlobs(digests: Iterable<string>): Promise<void> {
    const running: Promise<void>[] = [];
    for (const digest of digests) {
      if (!isDigest(digest) || this.#parts.records.isNeeded(digest)) continue;
      const removal = () => this.#parts.digests.run(digest, () => this.#removeFile(digest));
      running.push(this.#inBackground(`remove blob ${digest}`, removal));
      if (running.length >= MAX_REMOVALS) await Promise.all(running.splice(0));
    }
    await Promise.all(running);
  }

  /** Removes directories of ingests that have no record, as {@link removeBlobs} does. */
  async removeIngests(names: Iterable<string>): Promise<void> {
    const running: Promise<void>[] = [];
    const { records, layout } = this.#parts;
    for (const name of names) {
      if (records.hasIngestName(name)) continue;
      running.push(this.#inBackground(`remove ingest ${name}`, () => removeIngest(layout.ingest(name))));
      if (running.length >= MAX_REMOVALS) await Promise.all(running.splice(0));
    }
    await Promise.all(running);
  }

  /** Removes what a crash has left: files of blobs and ingests without a record. Looks at names only. */
  async sweep(): Promise<void> {
    await this.removeBlobs(await this.#parts.files.list());
    await this.sweepIngests();
  }

  /** Removes directories of ingests without a record: those of a namespace that was removed, for example. */
  async sweepIngests(): Promise<void> {
    await this.removeIngests(await readdir(this.#parts.layout.ingests));
  }

  async #removeFile(digest: string): Promise<void> {
    const { options, records, health, opened, files } = this.#parts;
    if (records.isNeeded(digest)) return;
    // Who holds the lock of its digest alone can give the blob a record again: what is true now stays so.
    await options.database.durable();
    health.gone(digest);
    opened.forget(digest);
    await files.remove(digest);
  }

  /** Runs work that {@link idle} waits for. What is returned does not fail. */
  #inBackground(what: string, work: () => Promise<void>): Promise<void> {
    const running = work()
      .catch((error: unknown) => this.#parts.options.onError?.(what, error))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
    return running;
  }
}

/**
 * Which blobs may be trusted. After a stop that was not clean every blob is under suspicion until its bytes were hashed
 * once, which happens when it is first used (R25). A damaged blob keeps its record, so that what its labels refer to is
 * kept, but is answered as not found until it was written again.
 */

import { type FileHandle, open, stat } from "node:fs/promises";
import type { Database } from "../store/database.ts";
import { nowMicros } from "../store/time.ts";
import { splitDigest } from "./digest.ts";
import { errnoOf, hashFile } from "./disk.ts";
import type { Layout } from "./layout.ts";
import type { KeyedMutex } from "./lock.ts";

/** Blobs that are hashed at the same time, at most. */
const MAX_PARALLEL = 2;

/** What is known of a blob that is not simply good. */
const UNVERIFIED = 1;
const DAMAGED = 2;

/** The suspicions of one content store. */
export class Health {
  readonly #database: Database;
  readonly #layout: Layout;
  readonly #digests: KeyedMutex;
  readonly #suspects = new Map<string, number>();
  readonly #running = new Map<string, Promise<string | undefined>>();
  readonly #waiting: (() => void)[] = [];
  #busy = 0;
  /** True when the daemon before this one did not end as it should. */
  readonly wasKilled: boolean;
  /** Told of a blob that was just found damaged. It must not throw. */
  onDamaged: ((digest: string) => void) | undefined;
  /** When this store was opened, in microseconds. */
  readonly #openedAt = nowMicros();

  /**
   * Reads what is known, and puts every blob under suspicion when the last stop was not clean.
   * @param digests the locks of digests: nobody may put a file in the place of one that is being hashed
   */
  constructor(database: Database, layout: Layout, digests: KeyedMutex) {
    this.#database = database;
    this.#layout = layout;
    this.#digests = digests;
    this.wasKilled = database.transaction(() => {
      if (database.run("DELETE FROM blob_suspects WHERE digest = ''") > 0) return false;
      const suspect = "INSERT OR IGNORE INTO blob_suspects (digest, state) SELECT DISTINCT digest, ? FROM blobs";
      database.run(suspect, UNVERIFIED);
      return true;
    });
    for (const row of database.all<{ digest: string; state: number }>("SELECT digest, state FROM blob_suspects")) {
      this.#suspects.set(row.digest, row.state);
    }
  }

  /** Notes that the store was closed as it should be. */
  markClean(): void {
    // An empty digest is no blob's.
    this.#database.run("INSERT OR REPLACE INTO blob_suspects (digest, state) VALUES ('', 0)");
  }

  /** True when bytes of an ingest may have been lost with the daemon that wrote them. @param startedAt microseconds */
  isDoubtful(startedAt: number): boolean {
    return this.wasKilled && startedAt < this.#openedAt;
  }

  /** True for a blob that is known to be damaged. */
  isDamaged(digest: string): boolean {
    return this.#suspects.get(digest) === DAMAGED;
  }

  /** Blobs that are known to be damaged. */
  get damagedBlobs(): string[] {
    return [...this.#suspects].filter(([, state]) => state === DAMAGED).map(([digest]) => digest);
  }

  /** True for a blob whose bytes must be hashed before it is used, or is known to be damaged. */
  isSuspect(digest: string): boolean {
    return this.#suspects.has(digest);
  }

  /** Forgets a suspicion: the blob was written again. Inside the caller's transaction. */
  clear(digest: string): void {
    if (!this.#suspects.has(digest)) return;
    this.#database.run("DELETE FROM blob_suspects WHERE digest = ?", digest);
    this.#suspects.delete(digest);
  }

  /** Notes that a blob is good. */
  #good(digest: string): void {
    try {
      this.clear(digest);
    } catch {
      // On a full disk it is known until the daemon ends, and hashed once more when it is used then.
      this.#suspects.delete(digest);
    }
  }

  /** Forgets a blob whose file goes; where that cannot be noted, it is noted when the blob is written again. */
  gone(digest: string): void {
    try {
      this.clear(digest);
    } catch {
      // The disk is full: all the more must the file go.
    }
  }

  /** Notes that a blob is damaged. */
  damaged(digest: string): void {
    this.#suspects.set(digest, DAMAGED);
    try {
      this.#database.run("INSERT OR REPLACE INTO blob_suspects (digest, state) VALUES (?, ?)", digest, DAMAGED);
    } catch {
      // On a full disk it is known until the daemon ends, and noticed again when the blob is used then.
    }
    this.onDamaged?.(digest);
  }

  /**
   * Makes sure that a blob may be used: by its size, and if it is under suspicion by its bytes.
   * @param size what it should have
   * @returns what is wrong with it; undefined when nothing is
   */
  async problem(digest: string, size: number): Promise<string | undefined> {
    const state = this.#suspects.get(digest);
    if (state === undefined) {
      const wrong = await sizeProblem(this.#layout.blob(digest), size);
      if (wrong !== undefined) this.damaged(digest);
      return wrong;
    }
    if (state === DAMAGED) return "it is known to be damaged";
    return this.verify(digest, size);
  }

  /**
   * Hashes a blob, also one that is known to be damaged, and remembers the outcome.
   * @returns what is wrong with it; undefined when nothing is
   */
  verify(digest: string, size: number): Promise<string | undefined> {
    let running = this.#running.get(digest);
    if (running === undefined) {
      running = this.#digests.run(digest, () => this.#verify(digest, size)).finally(() => this.#running.delete(digest));
      this.#running.set(digest, running);
    }
    return running;
  }

  async #verify(digest: string, size: number): Promise<string | undefined> {
    await this.#enter();
    try {
      const wrong = await contentProblem(this.#layout.blob(digest), digest, size);
      if (wrong === undefined) this.#good(digest);
      else this.damaged(digest);
      return wrong;
    } finally {
      this.#busy--;
      this.#waiting.shift()?.();
    }
  }

  async #enter(): Promise<void> {
    while (this.#busy >= MAX_PARALLEL) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#busy++;
  }
}

async function sizeProblem(path: string, size: number): Promise<string | undefined> {
  try {
    const found = (await stat(path)).size;
    return found === size ? undefined : `it has ${found} bytes instead of ${size}`;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "its file is missing";
    throw error;
  }
}

async function contentProblem(path: string, digest: string, size: number): Promise<string | undefined> {
  const wrongSize = await sizeProblem(path, size);
  if (wrongSize !== undefined) return wrongSize;
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "its file is missing";
    throw error;
  }
  try {
    const { algorithm, hex } = splitDigest(digest);
    const hasher = new Bun.CryptoHasher(algorithm as "sha256");
    await hashFile(file, hasher);
    return hasher.digest("hex") === hex ? undefined : "its bytes do not have its digest";
  } catch (error) {
    if (errnoOf(error) === "EIO") return "its bytes cannot be read";
    throw error;
  } finally {
    await file.close();
  }
}

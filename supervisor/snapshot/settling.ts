/**
 * Brings committed layers to disk after their commit was answered, and lets those wait who must not go on before.
 *
 * Invariants: a tree is marked `synced = 1` only when its files are on disk, and that mark is durable before anybody who
 * waits goes on. A sync that failed for the disk's sake is never tried again: the kernel forgets what it could not write,
 * so a second one succeeds and proves nothing. Such a tree is `synced = 2`, everybody who needs it gets the error, and the
 * next start takes it back (boot.ts). So does the next start with a tree whose sync was begun and never ended: that it was
 * begun is recorded before, not durably, for only the daemon's own death must not undo it.
 */

import { ContainerdError, messageOf, unknown } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Log } from "../log/log.ts";
import type { Database } from "../store/database.ts";
import { Synced } from "./boot.ts";
import { syncFiles } from "./sync.ts";
import { syncTree } from "./tree/process.ts";

/**
 * A sync that nobody waits for begins when no layer has been committed for this long, or when the first that it is for
 * has waited for the longer time, in milliseconds. A sync beside an unpack doubles the time of the unpack: both are in the
 * journal's way.
 */
const QUIET_MS = 2_000;
const MAX_QUIET_MS = 30_000;
/** After a failure that was not the disk's, in milliseconds: at first, and at most. */
const RETRY_MS = 1000;
const MAX_RETRY_MS = 60_000;
/** How long closing waits. What is not on disk then is synced, or taken back, by the next start. */
const CLOSE_MS = 30_000;

/** What settling is made of. */
export interface SettlingOptions {
  readonly database: Database;
  readonly snapshotter: string;
  /** The directory on whose file system all trees are. */
  readonly root: string;
  /** Where the files of a tree are. */
  readonly files: (id: number) => string;
  readonly log: Pick<Log, "warn">;
  /** Brings the files of one tree to disk, and all of a file system: other ones in tests. */
  readonly syncs?: Syncs | undefined;
  readonly retryMs?: number | undefined;
}

/** Ways to the disk. */
export interface Syncs {
  /** @throws Error when what was written may be lost */
  tree(directory: string): Promise<void>;
  /** @throws Error when what was written may be lost */
  fileSystem(directory: string): Promise<void>;
  /** How long no layer must have been committed before a sync begins that nobody waits for; 0: it begins at once. */
  readonly quietMs: number;
}

const realSyncs: Syncs = { tree: syncFiles, fileSystem: syncTree, quietMs: QUIET_MS };

/** A tree that is not known to be on disk. */
interface Unsettled {
  /** Ends with the next attempt. */
  attempt: PromiseWithResolvers<void>;
  /** Why it never will be. */
  lost: unknown;
  /** Somebody waits for it. */
  isWanted: boolean;
}

/**
 * The trees of one snapshotter that are not on disk yet: one sync at a time for all that are there at its beginning. It
 * begins at once when somebody waits, else when it is in nobody's way.
 */
export class Settling {
  readonly #options: SettlingOptions;
  readonly #syncs: Syncs;
  readonly #trees = new Map<number, Unsettled>();
  #isRunning = false;
  #timer: Timer | undefined;
  #quiet: Timer | undefined;
  /** When the first tree was committed that no sync has begun for, in milliseconds of performance.now(). */
  #firstAt: number | undefined;
  #retryMs: number;
  #isClosed = false;

  /** Goes on with what an earlier process of this boot has left. */
  constructor(options: SettlingOptions) {
    this.#options = options;
    this.#syncs = options.syncs ?? realSyncs;
    this.#retryMs = options.retryMs ?? RETRY_MS;
    const rows = options.database.all<{ id: number }>(
      "SELECT id FROM trees WHERE synced <> 1 AND snapshotter = ?",
      options.snapshotter,
    );
    for (const { id } of rows) this.begin(id);
  }

  /** A tree has been committed, and its record says that it is not synced. */
  begin(id: number): void {
    this.#trees.set(id, { attempt: attempt(), lost: undefined, isWanted: false });
    this.#startWhenQuiet();
  }

  /** A tree's record is gone: nobody needs its files. */
  forget(id: number): void {
    this.#trees.get(id)?.attempt.resolve();
    this.#trees.delete(id);
  }

  /**
   * Resolves when a tree and all that it is made of are on disk.
   * @param chain the ids of the tree and of its parents
   * @throws ContainerdError why they are not
   */
  async settled(chain: readonly number[]): Promise<void> {
    if (this.#trees.size === 0) return;
    await Promise.all(chain.map((id) => this.#tree(id)));
  }

  /** {@link settled} of all trees. @throws ContainerdError */
  allSettled(): Promise<void> {
    return this.settled([...this.#trees.keys()]);
  }

  /**
   * Resolves when no tree is on its way any more: each is on disk, or lost.
   * @throws ContainerdError when that could not be tried
   */
  async allDecided(): Promise<void> {
    const decided = async (id: number): Promise<void> => {
      try {
        await this.#tree(id);
      } catch (error) {
        if (this.#trees.get(id)?.lost === undefined) throw error;
      }
    };
    await Promise.all([...this.#trees.keys()].map(decided));
  }

  /** Waits for what is under way, for a while. */
  async close(): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, CLOSE_MS);
    // One that failed does not end the wait for the others.
    await Promise.race([Promise.allSettled([...this.#trees.keys()].map((id) => this.#tree(id))), late.promise]);
    clearTimeout(timer);
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#quiet);
    if (this.#trees.size === 0) return;
    const { snapshotter } = this.#options;
    this.#options.log.warn("layers are not on disk yet; the next start sees to it", {
      snapshotter,
      ids: [...this.#trees.keys()],
    });
  }

  async #tree(id: number): Promise<void> {
    const tree = this.#trees.get(id);
    if (tree === undefined) return;
    if (tree.lost !== undefined) throw this.#error(id, tree.lost);
    tree.isWanted = true;
    this.#start();
    try {
      await tree.attempt.promise;
    } catch (error) {
      throw this.#error(id, error);
    }
  }

  #error(id: number, error: unknown): ContainerdError {
    const isLost = this.#trees.get(id)?.lost !== undefined;
    const help = isLost
      ? "remove its image and snapshots, look after the disk, and unpack it again"
      : "it is tried again";
    const text = `layer ${this.#options.files(id)} cannot be brought to disk: ${messageOf(error)}: ${help}`;
    return isFull(error)
      ? new ContainerdError(Code.ResourceExhausted, `${text}: resource exhausted`, { cause: error })
      : unknown(text, error);
  }

  #start(): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    clearTimeout(this.#quiet);
    this.#timer = undefined;
    if (!this.#isRunning) void this.#run();
  }

  #startWhenQuiet(): void {
    if (this.#isClosed) return;
    const now = performance.now();
    this.#firstAt ??= now;
    const pause = Math.min(this.#syncs.quietMs, this.#firstAt + MAX_QUIET_MS - now);
    clearTimeout(this.#quiet);
    if (pause <= 0) this.#start();
    else this.#quiet = setTimeout(() => this.#start(), pause).unref();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    // Those who commit together are synced together.
    await Promise.resolve();
    for (let batch = this.#waiting(); batch.length > 0 && !this.#isClosed; batch = this.#waiting()) {
      this.#firstAt = undefined;
      try {
        await this.#sync(batch);
        this.#retryMs = this.#options.retryMs ?? RETRY_MS;
      } catch (error) {
        await this.#failed(batch, error);
        if (isDisk(error)) continue;
        this.#later();
        break;
      }
      // What was committed meanwhile has its own time, unless somebody waits.
      if (![...this.#trees.values()].some(({ isWanted, lost }) => isWanted && lost === undefined)) break;
    }
    // Nothing comes between the last look and this.
    this.#isRunning = false;
    if (this.#timer === undefined && this.#waiting().length > 0) this.#startWhenQuiet();
  }

  #waiting(): number[] {
    return [...this.#trees].filter(([, { lost }]) => lost === undefined).map(([id]) => id);
  }

  async #sync(batch: readonly number[]): Promise<void> {
    const { database, files, root } = this.#options;
    database.transaction(() => this.#write(batch, Synced.begun));
    const [only, ...others] = batch;
    if (only !== undefined && others.length === 0) await this.#syncs.tree(files(only));
    else await this.#syncs.fileSystem(root);
    await database.commit(() => this.#write(batch, Synced.yes));
    for (const id of batch) this.forget(id);
  }

  async #failed(batch: readonly number[], error: unknown): Promise<void> {
    const { database, snapshotter, log } = this.#options;
    const isLost = isDisk(error);
    // What a sync of the file system could not write may be of one that was committed meanwhile: it would not be told again.
    const still = isLost ? this.#waiting() : batch.filter((id) => this.#trees.has(id));
    if (still.length === 0) return;
    log.warn(isLost ? "layers are lost: the disk did not take them" : "layers could not be brought to disk yet", {
      snapshotter,
      ids: still,
      error,
    });
    const ended: PromiseWithResolvers<void>[] = [];
    for (const id of still) {
      const tree = this.#trees.get(id);
      if (tree === undefined) continue;
      ended.push(tree.attempt);
      tree.attempt = attempt();
      if (isLost) tree.lost = error;
    }
    await database
      .commit(() => this.#write(still, isLost ? Synced.lost : Synced.no))
      .catch((reason) => log.warn("cannot record what became of layers", { snapshotter, ids: still, error: reason }));
    for (const { reject } of ended) reject(error);
  }

  /** Inside a transaction. */
  #write(batch: readonly number[], synced: number): void {
    for (const id of batch) this.#options.database.run("UPDATE trees SET synced = ? WHERE id = ?", synced, id);
  }

  #later(): void {
    this.#timer = setTimeout(() => this.#start(), this.#retryMs).unref();
    this.#retryMs = Math.min(2 * this.#retryMs, MAX_RETRY_MS);
  }
}

function attempt(): PromiseWithResolvers<void> {
  const made = Promise.withResolvers<void>();
  // There may be nobody who waits.
  made.promise.catch(() => undefined);
  return made;
}

function isFull(error: unknown): boolean {
  return /^(?:ENOSPC|EDQUOT)$/.test(codeOf(error));
}

/** True when the kernel has been asked to write, and could not: what it had is lost. */
function isDisk(error: unknown): boolean {
  return isFull(error) || codeOf(error) === "EIO";
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | undefined)?.code ?? "");
}

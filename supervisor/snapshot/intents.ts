/**
 * What was begun in a snapshotter of another process, and must be finished or undone when a crash, or that process, came
 * in between: there is no transaction over two processes.
 *
 * Invariant: an intent is on disk before the other process is asked, and goes in the transaction that makes the result
 * known. So after a crash every snapshot there has a record here, or an intent.
 */

import { ContainerdError } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Log } from "../log/log.ts";
import type { Database } from "../store/database.ts";
import { Kind, type Snapshotter } from "./snapshotter.ts";

/** Something begun: a snapshot made or removed (`make` is undone, `remove` finished), or committed under a new name. */
export type Intent =
  | { readonly verb: "make" | "remove" }
  | {
      readonly verb: "commit";
      readonly namespace: string;
      readonly key: string;
      readonly name: string;
      readonly parent: string;
      readonly sequence: number;
      readonly labels: Readonly<Record<string, string>>;
    };

/** What finishes a commit that happened: the record of `intent` under the backend key. Called in a transaction. */
export type FinishCommit = (snapshotter: string, backend: string, intent: Intent & { verb: "commit" }) => void;

export class Intents {
  readonly #database: Database;
  readonly #finish: FinishCommit;
  readonly #log: Pick<Log, "warn">;
  /** Those of this process that are under way. */
  readonly #busy = new Set<string>();

  constructor(database: Database, finish: FinishCommit, log: Pick<Log, "warn">) {
    this.#database = database;
    this.#finish = finish;
    this.#log = log;
  }

  /**
   * Runs `action`, with an intent on disk if it happens in another process. `action` drops the intent in the transaction of its success; when it throws, the
   * intent is settled by what the other process says.
   * @param alongside in the transaction that records the intent
   */
  async during<T>(
    snapshotter: string,
    backend: string,
    intent: Intent,
    through: Snapshotter,
    action: () => Promise<T>,
    alongside: () => void = () => undefined,
  ): Promise<T> {
    if (!through.isRemote) return action();
    const busy = `${snapshotter} ${backend}`;
    this.#busy.add(busy);
    try {
      await this.#database.commit(() => {
        alongside();
        this.#database.run(
          "INSERT OR REPLACE INTO snapshot_intents (snapshotter, backend, details) VALUES (?, ?, ?)",
          snapshotter,
          backend,
          JSON.stringify(intent),
        );
      });
    } catch (error) {
      // Nothing is begun.
      this.#busy.delete(busy);
      throw error;
    }
    try {
      return await action();
    } catch (error) {
      this.#busy.delete(busy);
      await this.#settle(snapshotter, backend, intent, through).catch((reason) =>
        this.#log.warn("a change of a proxy snapshotter is left half done until it answers", {
          snapshotter,
          key: backend,
          error: reason,
        }),
      );
      throw error;
    } finally {
      this.#busy.delete(busy);
    }
  }

  /**
   * Removes a snapshot there. It is done for the caller when its record is gone; what cannot be removed yet is removed
   * later.
   * @param removeRecord in the transaction that records the intent
   */
  async remove(snapshotter: string, key: string, through: Snapshotter, removeRecord: () => void): Promise<void> {
    let isBegun = false;
    const remove = async (): Promise<void> => {
      isBegun = true;
      await through.remove(key, () => this.drop(snapshotter, key));
    };
    try {
      await this.during(snapshotter, key, { verb: "remove" }, through, remove, removeRecord);
    } catch (error) {
      if (!isBegun) throw error;
      this.#log.warn("a proxy snapshotter did not remove a snapshot", { snapshotter, key, error });
    }
  }

  /** Inside a transaction: the intent's result is known. */
  drop(snapshotter: string, backend: string): void {
    this.#database.run("DELETE FROM snapshot_intents WHERE snapshotter = ? AND backend = ?", snapshotter, backend);
  }

  /** Finishes or undoes what a crash has left. @throws ContainerdError when the other process does not answer */
  async settleAll(snapshotter: string, through: Snapshotter): Promise<void> {
    const rows = this.#database.all<{ backend: string; details: string }>(
      "SELECT backend, details FROM snapshot_intents WHERE snapshotter = ?",
      snapshotter,
    );
    for (const { backend, details } of rows) {
      if (this.#busy.has(`${snapshotter} ${backend}`)) continue;
      await this.#settle(snapshotter, backend, JSON.parse(details) as Intent, through);
    }
  }

  async #settle(snapshotter: string, backend: string, intent: Intent, through: Snapshotter): Promise<void> {
    if (intent.verb === "commit") {
      const isDone = await ifFound(async () => (await through.stat(backend)).kind === Kind.Committed);
      await this.#database.commit(() => {
        this.drop(snapshotter, backend);
        if (isDone === true) this.#finish(snapshotter, backend, intent);
      });
      return;
    }
    await ifFound(() => through.remove(backend, () => undefined));
    await this.#database.commit(() => this.drop(snapshotter, backend));
  }
}

/** Undefined when the other process has no such thing: it is not there, or could not have been made. */
async function ifFound<T>(action: () => Promise<T>): Promise<T | undefined> {
  try {
    return await action();
  } catch (error) {
    const { code } = error instanceof ContainerdError ? error : { code: undefined };
    if (code === Code.NotFound || code === Code.InvalidArgument) return undefined;
    throw error;
  }
}

/**
 * Which images were used a short time ago, by a clock that does not jump. The database has the order of uses alone; here
 * it is noted how far that order had come, and when.
 */

import type { Database } from "../store/database.ts";
import type { Candidate } from "./candidates.ts";

/** Notes that are kept: those in between are of little use. */
const MAX_NOTES = 1000;

/** The uses since the daemon's start. */
export class RecentUses {
  readonly #database: Pick<Database, "get">;
  readonly #keepMs: number;
  readonly #now: () => number;
  readonly #notes: { readonly at: number; readonly last: number }[];

  /**
   * @param keepMs how long a use is recent
   * @param now milliseconds of a clock that only goes on
   */
  constructor(database: Pick<Database, "get">, keepMs: number, now: () => number = () => performance.now()) {
    this.#database = database;
    this.#keepMs = keepMs;
    this.#now = now;
    // What was used before the daemon began is long ago.
    this.#notes = [{ at: Number.NEGATIVE_INFINITY, last: this.#last() }];
  }

  /** Notes how far uses have come: to be called soon after each. */
  note(): void {
    const last = this.#last();
    const before = this.#notes.at(-1);
    if (before !== undefined && last <= before.last) return;
    this.#notes.push({ at: this.#now(), last });
    if (this.#notes.length > MAX_NOTES) this.#notes.splice(1, 1);
  }

  isRecent({ namespace, name }: Candidate): boolean {
    const end = this.#now() - this.#keepMs;
    const passed = this.#notes.findLastIndex(({ at }) => at <= end);
    if (passed > 0) this.#notes.splice(0, passed);
    const row = this.#database.get<{ used: number }>(
      "SELECT used FROM image_uses WHERE namespace = ? AND name = ?",
      namespace,
      name,
    );
    return (row?.used ?? 0) > (this.#notes[0]?.last ?? 0);
  }

  #last(): number {
    return this.#database.get<{ last: number | null }>("SELECT MAX(used) AS last FROM image_uses")?.last ?? 0;
  }
}

/**
 * Fetches blobs again as they are found damaged: at their first use after a power cut, or by a check. One after another,
 * in the background; while they cannot be fetched it is tried again, less and less often. Without a damaged blob nothing
 * is done and no timer runs.
 */

import { messageOf } from "../../proto/errdefs.ts";
import { type Family, single } from "../metrics/text.ts";
import { repairBlob } from "./blobs.ts";
import { Known } from "./known.ts";
import { type Outcome, type RepairOptions, repair } from "./repair.ts";
import type { RepairRooms } from "./rooms.ts";

/** Wait before blobs that could not be fetched are tried again, in milliseconds: doubled from the first to the last. */
const RETRY_MS = { first: 60_000, last: 3_600_000 } as const;
/** What is found damaged together is repaired together, after so many milliseconds. */
const SOON_MS = 500;

/** The repairs of one daemon. */
export class RepairRoom {
  readonly rooms: RepairRooms;
  readonly #ended = new AbortController();
  /** Damaged, and not repaired yet. */
  readonly #waiting = new Set<string>();
  readonly #counts = { repaired: 0, failed: 0 };
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #wait: number = RETRY_MS.first;
  /** Repairs that somebody has asked for: they do what would be done here. */
  #asked = 0;

  constructor(rooms: RepairRooms) {
    this.rooms = rooms;
  }

  /** Begins with what is known to be damaged. */
  start(): void {
    const { health } = this.rooms.content;
    if (!this.rooms.config.registry.repair) return;
    health.onDamaged = (digest) => this.#add(digest);
    for (const digest of health.damagedBlobs) this.#add(digest);
  }

  /** {@link repair}; nothing is repaired in the background meanwhile. */
  async *repair(options: RepairOptions): AsyncGenerator<Outcome> {
    this.#asked++;
    try {
      await this.#running;
      yield* repair(this.rooms, options);
    } finally {
      this.#asked--;
      if (this.#waiting.size > 0) this.#plan(SOON_MS);
    }
  }

  families(): Family[] {
    const { repaired, failed } = this.#counts;
    const damaged = this.rooms.content.health.damagedBlobs.length;
    return [
      single("berth_blobs_damaged", "gauge", "Blobs that are known to be damaged.", damaged),
      single("berth_blobs_repaired_total", "counter", "Damaged blobs that were fetched again.", repaired),
      single("berth_blob_repair_failures_total", "counter", "Damaged blobs that could not be fetched.", failed),
    ];
  }

  async stop(): Promise<void> {
    this.rooms.content.health.onDamaged = undefined;
    this.#ended.abort(new Error("berthd ends"));
    clearTimeout(this.#timer);
    await this.#running;
  }

  #add(digest: string): void {
    if (this.#waiting.has(digest)) return;
    this.#waiting.add(digest);
    this.#wait = RETRY_MS.first;
    this.#plan(SOON_MS);
  }

  #plan(ms: number): void {
    // A run that is under way plans the next.
    if (this.#running !== undefined || this.#asked > 0 || this.#ended.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#asked > 0) return;
      this.#running = this.#run().finally(() => {
        this.#running = undefined;
        if (this.#waiting.size === 0) return;
        this.#plan(this.#wait);
        this.#wait = Math.min(RETRY_MS.last, this.#wait * 2);
      });
    }, ms);
    this.#timer.unref();
  }

  async #run(): Promise<void> {
    const { log, content } = this.rooms;
    const { signal } = this.#ended;
    try {
      const known = await Known.read(this.rooms);
      for (const digest of this.#waiting) {
        if (signal.aborted || this.#asked > 0) return;
        if (!content.health.isDamaged(digest)) {
          this.#waiting.delete(digest);
          continue;
        }
        const told = (what: string): void => log.info(`a blob is damaged: ${what}`);
        const { isRepaired, detail } = await repairBlob(this.rooms, known, digest, { signal, told });
        this.#counts[isRepaired ? "repaired" : "failed"]++;
        if (isRepaired) {
          this.#waiting.delete(digest);
          log.info("a damaged blob is repaired", { digest, detail });
        } else {
          log.warn("a damaged blob cannot be repaired", { digest, detail });
          // Nothing changes that without somebody who imports it.
          if (known.references(digest).length === 0) this.#waiting.delete(digest);
        }
      }
    } catch (error) {
      if (!signal.aborted) log.warn("cannot repair damaged blobs", { error: messageOf(error) });
    }
  }
}

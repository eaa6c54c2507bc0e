/**
 * The garbage collector: removes what neither an image, a container, a lease, a label nor a running ingest needs. It
 * works beside everything else: marks in slices, and looks again at what was changed meanwhile before it removes.
 */

import { Graph } from "./graph.ts";
import { Marks } from "./mark.ts";
import type { Node } from "./node.ts";
import { defaultPolicy, type GcPolicy, Scheduler } from "./scheduler.ts";
import { candidates, type Removed, Sweep, type SweepParts } from "./sweep.ts";
import { Touched } from "./touched.ts";

/** How long marking holds the event loop at a time, in milliseconds. */
const SLICE_MS = 3;

/** What the collector works with. */
export interface CollectorParts extends Omit<SweepParts, "waste"> {
  readonly content: {
    /** True while an ingest is being written: it must stay, whatever else holds. */
    hasWriter(namespace: string, ref: string): boolean;
  };
  readonly waste: SweepParts["waste"] & {
    /** Removes files that no record knows: what a crash has left. */
    sweep(): Promise<void>;
    /** The part of {@link sweep} that is done after every collection. */
    sweepIngests(): Promise<void>;
  };
  readonly policy?: GcPolicy;
  /** Told of every collection: for how many milliseconds it held the event loop, and what came of it. */
  readonly onCollected?: (ms: number, removed: Removed | undefined, error?: unknown) => void;
  /** Milliseconds; for tests. */
  readonly sliceMs?: number;
}

/** The collector of one daemon. */
export class Collector {
  readonly #parts: CollectorParts;
  readonly #graph: Graph;
  readonly #touched: Touched;
  readonly #scheduler: Scheduler;
  #isFirst = true;
  /** True while the transaction that is under way is the collector's own. */
  #isOwn = false;

  /** Begins to watch the database; the first collection comes soon. */
  constructor(parts: CollectorParts) {
    this.#parts = parts;
    this.#graph = new Graph(parts.database, (namespace, ref) => parts.content.hasWriter(namespace, ref));
    this.#touched = new Touched(parts.database);
    this.#scheduler = new Scheduler(parts.policy ?? defaultPolicy, () => this.#collect());
    parts.database.watch(({ deletedFrom, hasInserted }) => {
      // A commit takes the place of what it removes.
      const isDeletion = !hasInserted && (deletedFrom.has("blobs") || deletedFrom.has("snapshots"));
      if (!this.#isOwn) this.#scheduler.changed(isDeletion);
      this.#isOwn = false;
    });
  }

  /**
   * Tells that something may have become garbage: it is removed when the thresholds allow it. Of blobs and snapshots that
   * were removed the collector knows by itself.
   */
  schedule(): void {
    this.#scheduler.changed(true);
  }

  /** Collects; resolves when everything that is garbage now is gone. */
  collect(): Promise<void> {
    return this.#scheduler.trigger();
  }

  /** Ends; the database is still open. */
  close(): Promise<void> {
    return this.#scheduler.close();
  }

  /** @returns how many milliseconds it held the event loop */
  async #collect(): Promise<number> {
    const slices = new Slices(this.#parts.sliceMs ?? SLICE_MS);
    try {
      const removed = await this.#markAndSweep(slices);
      await (this.#isFirst ? this.#parts.waste.sweep() : this.#parts.waste.sweepIngests());
      this.#isFirst = false;
      this.#parts.onCollected?.(slices.busy, removed);
      return slices.busy;
    } catch (error) {
      this.#parts.onCollected?.(slices.busy, undefined, error);
      throw error;
    } finally {
      this.#isOwn = false;
    }
  }

  async #markAndSweep(slices: Slices): Promise<Removed> {
    const now = Date.now();
    const marks = new Marks(this.#graph, this.#touched, now);
    const sweep = new Sweep(this.#parts, marks, () => {
      this.#isOwn = true;
    });
    this.#touched.raise();
    try {
      for (const _ of marks.run()) await slices.pause();
      const garbage: Node[] = [];
      for (const node of candidates(this.#graph, marks, now)) {
        if (node) garbage.push(node);
        else await slices.pause();
      }
      await sweep.run(garbage, () => slices.pause());
      return sweep.removed;
    } finally {
      this.#touched.lower();
    }
  }
}

/** Work in slices of time. */
class Slices {
  readonly #ms: number;
  #started = performance.now();
  /** Milliseconds that were worked, without those in which others did. */
  busy = 0;

  constructor(ms: number) {
    this.#ms = ms;
  }

  /** Lets everybody else work when the slice is over. */
  async pause(): Promise<void> {
    const worked = performance.now() - this.#started;
    if (worked < this.#ms) return;
    this.busy += worked;
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#started = performance.now();
  }
}

/** When to collect, by containerd's rules (plugins/gc/scheduler.go), but without waking up for nothing. */

/** Thresholds; times are milliseconds. */
export interface GcPolicy {
  /** The largest part of the time that collecting may take, up to 0.5. */
  readonly pauseThreshold: number;
  /** Deletions after which to collect at once; 0: none. */
  readonly deletionThreshold: number;
  /** Changes after which to collect even without a deletion; 0: none. */
  readonly mutationThreshold: number;
  readonly scheduleDelay: number;
  readonly startupDelay: number;
}

/** containerd's defaults. */
export const defaultPolicy: GcPolicy = {
  pauseThreshold: 0.02,
  deletionThreshold: 0,
  mutationThreshold: 100,
  scheduleDelay: 0,
  startupDelay: 100,
};

/** Collections count as this long at least, so that they do not follow each other at once. */
const MIN_COLLECTION_MS = 5;
/** Wait between collections while nothing is known of how long they take, and after one that failed. */
const DEFAULT_INTERVAL_MS = 1000;

/** Decides when to collect; one collection at a time. */
export class Scheduler {
  readonly #policy: GcPolicy;
  readonly #collect: () => Promise<number>;
  #deletions = 0;
  #mutations = 0;
  #interval = DEFAULT_INTERVAL_MS;
  #timeSum = 0;
  #collections = 0;
  /** When the last collection ended; undefined before the first. */
  #last: number | undefined;
  /** When the next collection is to be, and the timer for it. */
  #planned: { readonly at: number; readonly timer: ReturnType<typeof setTimeout> } | undefined;
  #running: Promise<void> | undefined;
  #isClosed = false;
  #waiters: { resolve(): void; reject(error: unknown): void }[] = [];

  /**
   * @param collect begins with what is true when it is called; resolves when it has ended, with how many milliseconds it
   * kept others from working
   */
  constructor(policy: GcPolicy, collect: () => Promise<number>) {
    this.#policy = policy;
    this.#collect = collect;
    this.#plan(performance.now() + policy.startupDelay);
  }

  /** Told of every change of the database. */
  changed(isDeletion: boolean): void {
    this.#mutations++;
    if (isDeletion) this.#deletions++;
    const { deletionThreshold, scheduleDelay } = this.#policy;
    const now = performance.now();
    if (deletionThreshold > 0 && this.#deletions >= deletionThreshold) this.#plan(now + scheduleDelay);
    else if (this.#isDue) this.#plan(Math.max(now + scheduleDelay, (this.#last ?? now) + this.#interval));
  }

  /** True when enough has changed for a collection. */
  get #isDue(): boolean {
    const { mutationThreshold } = this.#policy;
    return this.#deletions > 0 || (mutationThreshold > 0 && this.#mutations >= mutationThreshold);
  }

  /** Collects soon; resolves when a collection that began after this call has ended. @throws what it failed with */
  trigger(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiters.push({ resolve, reject });
    this.#plan(performance.now() + this.#policy.scheduleDelay);
    return promise;
  }

  /** Ends; resolves when no collection runs any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#planned?.timer);
    this.#planned = undefined;
    await this.#running;
    for (const { resolve } of this.#waiters.splice(0)) resolve();
  }

  /** Plans a collection, unless an earlier one is planned. */
  #plan(at: number): void {
    // While one runs, its end plans the next.
    if (this.#isClosed || this.#running !== undefined || (this.#planned && this.#planned.at <= at)) return;
    clearTimeout(this.#planned?.timer);
    const timer = setTimeout(() => this.#start(), Math.max(0, at - performance.now()));
    this.#planned = { at, timer };
  }

  #start(): void {
    this.#planned = undefined;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (this.#waiters.length > 0) this.#plan(performance.now() + this.#policy.scheduleDelay);
      else if (this.#isDue) this.#plan(performance.now() + this.#interval);
    });
  }

  async #run(): Promise<void> {
    const waiters = this.#waiters.splice(0);
    const { deletions, mutations } = { deletions: this.#deletions, mutations: this.#mutations };
    this.#deletions = 0;
    this.#mutations = 0;
    try {
      this.#adjust(await this.#collect());
      for (const { resolve } of waiters) resolve();
    } catch (error) {
      this.#deletions += deletions;
      this.#mutations += mutations;
      this.#interval += DEFAULT_INTERVAL_MS;
      for (const { reject } of waiters) reject(error);
    } finally {
      this.#last = performance.now();
    }
  }

  #adjust(ms: number): void {
    this.#timeSum += ms;
    this.#collections++;
    const { pauseThreshold } = this.#policy;
    if (pauseThreshold <= 0) return;
    const average = Math.max(MIN_COLLECTION_MS, this.#timeSum / this.#collections);
    this.#interval = average / Math.min(0.5, pauseThreshold) - average;
  }
}

/** Images that are to be there: fetched one after the other, again and again until they are. */

import { messageOf } from "../../proto/errdefs.ts";
import { normalizeDockerName } from "../image/reference.ts";
import type { Log } from "../log/log.ts";

/** Waits between attempts of one image, in milliseconds: doubled from the first to the last, a quarter by chance. */
const WAIT = { first: 5000, last: 600_000 };
const JITTER = 0.25;
/** Images that are looked after, at most. */
const MAX_IMAGES = 1000;

/** What images are fetched with. */
export interface PrefetchParts {
  readonly log: Log;
  /** True when the image is there; sees to it that it is pinned. */
  readonly has: (reference: string) => Promise<boolean>;
  readonly fetch: (
    reference: string,
    signal: AbortSignal,
    moved: (done: number, total: number) => void,
  ) => Promise<void>;
  readonly onArrived: (reference: string) => void;
  /** Milliseconds; for tests. */
  readonly firstWaitMs?: number;
}

/** How an image does. */
export interface PrefetchState {
  readonly reference: string;
  readonly state: "there" | "fetching" | "waiting" | "refused";
  readonly attempts: number;
  /** Until the next attempt. */
  readonly retryMs: number;
  readonly done: number;
  readonly total: number;
  readonly error: string;
}

interface Wanted {
  state: PrefetchState["state"];
  attempts: number;
  /** When it is tried, on the clock that nobody sets. */
  due: number;
  done: number;
  total: number;
  error: string;
}

/** The list of one daemon. */
export class Prefetch {
  readonly #parts: PrefetchParts;
  /** By the full reference. */
  readonly #wanted = new Map<string, Wanted>();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #timer: Timer | undefined;

  constructor(parts: PrefetchParts) {
    this.#parts = parts;
  }

  get state(): PrefetchState[] {
    const now = performance.now();
    return [...this.#wanted].map(([reference, { due, ...image }]) => ({
      reference,
      ...image,
      retryMs: image.state === "waiting" ? Math.max(0, Math.round(due - now)) : 0,
    }));
  }

  /** Takes the whole list; what is no longer in it is not fetched any more, and stays when it is there. */
  want(references: readonly string[]): void {
    const names = new Map(
      references.slice(0, MAX_IMAGES).map((reference) => [fullName(reference) ?? reference, reference]),
    );
    for (const name of this.#wanted.keys()) if (!names.has(name)) this.#wanted.delete(name);
    for (const [name, reference] of names) {
      if (this.#wanted.has(name)) continue;
      const isName = fullName(reference) !== undefined;
      const error = isName ? "" : `${JSON.stringify(reference.slice(0, 200))} is no reference of an image`;
      if (!isName) this.#parts.log.warn("an image to fetch is refused", { error });
      const state = isName ? "waiting" : "refused";
      this.#wanted.set(name, { state, attempts: 0, due: 0, done: 0, total: 0, error });
    }
    this.#go();
  }

  /** Tries now what is missing, and what was thought to be there. */
  retry(): void {
    for (const image of this.#wanted.values()) {
      if (image.state === "there") image.state = "waiting";
      if (image.state === "waiting") image.due = 0;
    }
    this.#go();
  }

  /** Ends; what was being fetched goes on at the next start. */
  async close(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    await this.#running;
  }

  #go(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async #run(): Promise<void> {
    clearTimeout(this.#timer);
    const { signal } = this.#stop;
    for (let next = this.#due(); next !== undefined && !signal.aborted; next = this.#due()) await this.#try(...next);
    if (signal.aborted) return;
    const dues = [...this.#wanted.values()].filter(({ state }) => state === "waiting").map(({ due }) => due);
    if (dues.length === 0) return;
    this.#timer = setTimeout(() => this.#go(), Math.max(10, Math.min(...dues) - performance.now()));
  }

  #due(): [reference: string, image: Wanted] | undefined {
    const now = performance.now();
    return [...this.#wanted].find(([, { state, due }]) => state === "waiting" && due <= now);
  }

  async #try(reference: string, image: Wanted): Promise<void> {
    const { has, fetch, log, onArrived, firstWaitMs = WAIT.first } = this.#parts;
    const { signal } = this.#stop;
    image.state = "fetching";
    try {
      if (!(await has(reference))) {
        await fetch(reference, signal, (done, total) => {
          image.done = done;
          image.total = total;
        });
        log.info("fetched an image of the list", { reference });
        onArrived(reference);
      }
      image.state = "there";
      image.attempts = 0;
      image.error = "";
    } catch (error) {
      const wait = Math.min(WAIT.last, firstWaitMs * 2 ** Math.min(image.attempts, 20));
      image.state = "waiting";
      image.attempts++;
      // Not all nodes that were without a network come back at the same moment.
      image.due = performance.now() + wait * (1 - JITTER + 2 * JITTER * Math.random());
      image.error = messageOf(error);
      if (!signal.aborted) log.warn("an image of the list could not be fetched", { reference, error: image.error });
    }
  }
}

function fullName(reference: string): string | undefined {
  try {
    return normalizeDockerName(reference);
  } catch {
    return undefined;
  }
}

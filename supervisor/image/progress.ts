/** How a transfer gets on, told blob by blob (core/transfer/local/progress.go). */

import { type Descriptor, refKey } from "./descriptor.ts";

/** One step. Clients print `event` as it is. */
export interface Progress {
  readonly event: string;
  /** What it is about; empty for the whole. */
  readonly name?: string;
  /** Names of what refers to it. */
  readonly parents?: readonly string[];
  readonly progress?: number;
  readonly total?: number;
  readonly descriptor?: Descriptor;
}

/** Told of every step. */
export type Report = (progress: Progress) => void;

/** What has happened to blobs is told in rounds, so many milliseconds apart. */
const INTERVAL = 300;

interface Job {
  readonly descriptor: Descriptor;
  readonly name: string;
  readonly parents: readonly string[];
  /** Bytes that have been transferred, and those that were told of. */
  moved: number;
  told: number;
  state: "open" | "done" | "told";
}

/**
 * Progress of the blobs of one image. That a blob waits or exists is told at once; bytes and ends are told in rounds, the
 * last of which follows the end of the whole: clients show it as containerd's.
 */
export class ProgressTracker {
  readonly #report: Report;
  readonly #root: string;
  readonly #verb: string;
  readonly #jobs = new Map<string, Job>();
  readonly #parents = new Map<string, string[]>();
  #timer: Timer | undefined;

  /**
   * @param root name of the image, the parent of what has no other
   * @param verb the event while bytes move: "downloading", "uploading"
   */
  constructor(root: string, verb: string, report: Report) {
    this.#root = root;
    this.#verb = verb;
    this.#report = report;
  }

  /** A blob will be transferred. */
  add(descriptor: Descriptor): void {
    this.#job(descriptor);
  }

  /** A blob refers to others. */
  addChildren(descriptor: Descriptor, children: readonly Descriptor[]): void {
    for (const { digest } of children) {
      const parents = this.#parents.get(digest);
      if (parents === undefined) this.#parents.set(digest, [refKey(descriptor)]);
      else parents.push(refKey(descriptor));
    }
  }

  /** A blob need not be transferred. */
  exists(descriptor: Descriptor): void {
    const job = this.#job(descriptor);
    if (job.state !== "open") return;
    job.state = "told";
    const { size } = descriptor;
    this.#report({ event: "already exists", name: job.name, progress: size, total: size, descriptor: job.descriptor });
  }

  /** So many bytes of a blob have been transferred. */
  moved(descriptor: Descriptor, bytes: number): void {
    this.#job(descriptor).moved = bytes;
    this.#later();
  }

  /** A blob has been transferred. */
  complete(descriptor: Descriptor): void {
    const job = this.#job(descriptor);
    if (job.state === "open") job.state = "done";
    this.#later();
  }

  /** Tells what has not been told yet. */
  finish(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const job of this.#jobs.values()) {
      if (job.state === "done") {
        job.state = "told";
        this.#tell(job, "complete", job.descriptor.size);
      } else if (job.state === "open" && job.moved > job.told) {
        job.told = job.moved;
        this.#tell(job, this.#verb, job.moved);
      }
    }
  }

  #later(): void {
    this.#timer ??= setTimeout(() => this.finish(), INTERVAL);
  }

  #job(descriptor: Descriptor): Job {
    const known = this.#jobs.get(descriptor.digest);
    if (known) return known;
    const parents = this.#parents.get(descriptor.digest) ?? [this.#root];
    const job: Job = { descriptor, name: refKey(descriptor), parents, moved: 0, told: 0, state: "open" };
    this.#jobs.set(descriptor.digest, job);
    this.#tell(job, "waiting", 0);
    return job;
  }

  #tell({ name, parents, descriptor }: Job, event: string, progress: number): void {
    this.#report({ event, name, parents, progress, total: descriptor.size, descriptor });
  }
}

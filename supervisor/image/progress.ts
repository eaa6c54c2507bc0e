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

/** Bytes of one blob are told about no more often than this, in milliseconds. */
const INTERVAL = 300;

interface Job {
  readonly descriptor: Descriptor;
  readonly name: string;
  readonly parents: readonly string[];
  told: number;
  toldAt: number;
  isComplete: boolean;
}

/** Progress of the blobs of one image. */
export class ProgressTracker {
  readonly #report: Report;
  readonly #root: string;
  readonly #verb: string;
  readonly #jobs = new Map<string, Job>();
  readonly #parents = new Map<string, string[]>();

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
    if (job.isComplete) return;
    job.isComplete = true;
    const { size } = descriptor;
    this.#report({ event: "already exists", name: job.name, progress: size, total: size, descriptor: job.descriptor });
  }

  /** So many bytes of a blob have been transferred. */
  moved(descriptor: Descriptor, bytes: number): void {
    const job = this.#job(descriptor);
    const now = performance.now();
    if (job.isComplete || bytes <= job.told || now - job.toldAt < INTERVAL) return;
    job.told = bytes;
    job.toldAt = now;
    this.#tell(job, this.#verb, bytes);
  }

  /** A blob has been transferred. */
  complete(descriptor: Descriptor): void {
    const job = this.#job(descriptor);
    if (job.isComplete) return;
    job.isComplete = true;
    this.#tell(job, "complete", descriptor.size);
  }

  #job(descriptor: Descriptor): Job {
    const known = this.#jobs.get(descriptor.digest);
    if (known) return known;
    const parents = this.#parents.get(descriptor.digest) ?? [this.#root];
    const job = {
      descriptor,
      name: refKey(descriptor),
      parents,
      told: 0,
      toldAt: performance.now(),
      isComplete: false,
    };
    this.#jobs.set(descriptor.digest, job);
    this.#tell(job, "waiting", 0);
    return job;
  }

  #tell({ name, parents, descriptor }: Job, event: string, progress: number): void {
    this.#report({ event, name, parents, progress, total: descriptor.size, descriptor });
  }
}

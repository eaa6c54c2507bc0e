/**
 * What is kept of one application, in `<root>/apps/NAME/`: `state.json`, `revisions/N.json`, `made/HASH.json`. Files are
 * written whole and synced before what refers to them: a power cut leaves the old or the new state.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { syncDirectory, writeDurably } from "../store/file.ts";
import { canonical } from "./canonical.ts";
import type { Made } from "./desired.ts";
import type { Application } from "./model.ts";

/** One version of an application. */
export interface Revision {
  readonly number: number;
  /** Of the application with the digests of its images. */
  readonly hash: string;
  /** Of the text and everything that was read with it: a version that failed is not tried again until this changes. */
  readonly source: string;
  readonly text: string;
  readonly file: string;
  readonly application: Application;
  /** Digests of the images, by their references as the text has them. */
  readonly digests: Readonly<Record<string, string>>;
  /** Milliseconds of the clock; for people alone. */
  readonly createdAt: number;
}

/** Why a version is bad. */
export interface Bad {
  readonly revision: number;
  /** Of the source, as {@link Revision.source}. */
  readonly source: string;
  readonly reason: string;
}

/** What an application is at. */
export interface AppState {
  readonly name: string;
  readonly namespace: string;
  /** The watched file that it is of; undefined for one of `berth apply`. */
  readonly origin?: string;
  /** The number of the next revision. */
  readonly next: number;
  /** The revision that the containers are of. */
  readonly current?: number;
  /** The last that became healthy, and the one before it. */
  readonly good?: number;
  readonly previous?: number;
  /** The revision that is being brought about: after a power cut this is finished or taken back. */
  readonly target?: number;
  /** What the target is for. */
  readonly purpose?: "apply" | "rollback" | "remove";
  /** Whether the target's volumes go, too. */
  readonly removesVolumes?: boolean;
  /** Versions that did not become healthy; the last ones. */
  readonly bad: readonly Bad[];
  /** The source of the watched file as it was dealt with last, well or not. */
  readonly seen?: string;
  /** What came of the last change. */
  readonly result?: "applied" | "failed" | "rolled-back";
  /** Why it is not `applied`. */
  readonly reason?: string;
  /** Milliseconds of the clock; for people alone. */
  readonly appliedAt?: number;
}

/** Revisions that are kept beside those that are in use. */
const KEEP_REVISIONS = 10;
const KEEP_BAD = 20;
/** The first sign of every name here; others are not ours. */
const hex = /^[0-9a-f]{64}\.json$/;

/** The directory of all applications. */
export class AppStore {
  readonly #directory: string;

  /** @param directory `<root>/apps` */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Every application. What cannot be read is told, and passed over. */
  all(problem: (what: string) => void): AppState[] {
    if (!existsSync(this.#directory)) return [];
    return readdirSync(this.#directory, { withFileTypes: true }).flatMap((entry) => {
      if (!entry.isDirectory()) return [];
      try {
        const state = read<AppState>(join(this.#directory, entry.name, "state.json"));
        // A directory without a state was being made or removed.
        if (state === undefined) rmSync(join(this.#directory, entry.name), { recursive: true, force: true });
        return state?.name === entry.name ? [state] : [];
      } catch (error) {
        problem(`${join(this.#directory, entry.name)}: ${(error as Error).message}`);
        return [];
      }
    });
  }

  /** Replaces the state of an application. @throws NodeJS.ErrnoException */
  write(state: AppState): void {
    const directory = join(this.#directory, state.name);
    if (!existsSync(directory)) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      syncDirectory(this.#directory);
    }
    writeDurably(join(directory, "state.json"), canonical({ ...state, bad: state.bad.slice(-KEEP_BAD) }));
  }

  /** Keeps a revision. @throws NodeJS.ErrnoException */
  addRevision(name: string, revision: Revision): void {
    writeDurably(this.#revision(name, revision.number), canonical(revision));
    syncDirectory(join(this.#directory, name));
  }

  /** @returns undefined when it is not kept any more */
  revision(name: string, number: number | undefined): Revision | undefined {
    return number === undefined ? undefined : read<Revision>(this.#revision(name, number));
  }

  /** Numbers of the revisions that are kept, from the oldest. */
  revisions(name: string): number[] {
    return list(join(this.#directory, name, "revisions"))
      .flatMap((file) => (/^[1-9][0-9]*\.json$/.test(file) ? [Number.parseInt(file, 10)] : []))
      .toSorted((a, b) => a - b);
  }

  /** Keeps what a container is made from. @throws NodeJS.ErrnoException */
  addMade(name: string, hash: string, made: Made): void {
    const path = join(this.#directory, name, "made", `${hash}.json`);
    if (!existsSync(path)) writeDurably(path, canonical({ options: made.options, digest: made.digest }));
  }

  /** What a container was made from, by its hash. */
  made(name: string, hash: string): Made | undefined {
    if (!hex.test(`${hash}.json`)) return undefined;
    try {
      return read<Made>(join(this.#directory, name, "made", `${hash}.json`));
    } catch {
      // Then it is made anew, as one of which nothing is known.
      return undefined;
    }
  }

  /** Removes what nothing refers to any more. @param hashes of the containers that are there */
  tidy(state: AppState, hashes: ReadonlySet<string>): void {
    const { name, current, good, previous, target } = state;
    const inUse = new Set([current, good, previous, target]);
    for (const number of this.revisions(name).slice(0, -KEEP_REVISIONS)) {
      if (!inUse.has(number)) rmSync(this.#revision(name, number), { force: true });
    }
    const directory = join(this.#directory, name, "made");
    for (const file of list(directory)) {
      if (!hashes.has(file.replace(/\.json$/, ""))) rmSync(join(directory, file), { force: true });
    }
  }

  /** Forgets an application. */
  remove(name: string): void {
    rmSync(join(this.#directory, name), { recursive: true, force: true });
    if (existsSync(this.#directory)) syncDirectory(this.#directory);
  }

  #revision(name: string, number: number): string {
    return join(this.#directory, name, "revisions", `${number}.json`);
  }
}

function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

function read<T>(path: string): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  return JSON.parse(text) as T;
}

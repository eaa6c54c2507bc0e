/**
 * The directory of applications: what lies in it is brought about, what is taken out is removed. Every change makes one
 * look at all of it, a moment after the last change, so that an editor may write, rename and remove as it likes.
 */

import { existsSync, type FSWatcher, readdirSync, readFileSync, statSync, watch } from "node:fs";
import { basename, dirname, join } from "node:path";
import { messageOf } from "../../proto/errdefs.ts";
import type { Log } from "../log/log.ts";
import { type Applications, isPassing } from "./applications.ts";
import { MAX_FILE } from "./compose/tree.ts";
import { readVersion, type Version } from "./version.ts";

/** What is wrong with a file. */
export interface FileProblem {
  readonly file: string;
  /** The application that it would be; by the name of the file where it does not say. */
  readonly name: string;
  /** `waiting`: it is tried again by itself; `invalid`: when the file changes. */
  readonly kind: "invalid" | "waiting";
  readonly message: string;
}

/** How files are watched. */
export interface WatchOptions {
  readonly directory: string;
  readonly namespace: string;
  readonly applications: Applications;
  readonly log: Log;
  /** Told of a file that cannot be used. */
  readonly onProblem?: (problem: FileProblem) => void;
  /** Wait after the last change; other than {@link DEBOUNCE_MS} for tests. */
  readonly debounceMs?: number;
}

const DEBOUNCE_MS = 400;
/** Waits before what failed for want of a network is tried again. */
const RETRY_MIN_MS = 5_000;
const RETRY_MAX_MS = 300_000;
/** Files that are looked at; a directory with more is no directory of applications. */
const MAX_FILES = 500;

/** Watches one directory. */
export class AppFiles {
  readonly #options: WatchOptions;
  readonly #problems = new Map<string, FileProblem>();
  /** By path; with the directory that it was then: another of the same name needs a watch of its own. */
  readonly #watchers = new Map<string, { readonly watcher: FSWatcher; readonly identity: string }>();
  /** Sources of files whose change goes on. */
  readonly #begun = new Map<string, string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retryMs = RETRY_MIN_MS;
  #scan: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** Files that cannot be used now. */
  get problems(): FileProblem[] {
    return [...this.#problems.values()];
  }

  /** Begins, and looks once. */
  start(): void {
    this.#look();
  }

  /** Tries now what waits: an image may have come. */
  poke(): void {
    if (this.#retry === undefined) return;
    this.#look();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    for (const { watcher } of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** Looks in a moment. */
  #changed(): void {
    if (this.#isStopped) return;
    clearTimeout(this.#timer);
    this.#retryMs = RETRY_MIN_MS;
    this.#timer = setTimeout(() => this.#look(), this.#options.debounceMs ?? DEBOUNCE_MS);
  }

  #look(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#scan = this.#scan
      .then(() => this.#lookNow())
      .catch((error: unknown) => this.#options.log.error(`applications cannot be looked for: ${messageOf(error)}`));
  }

  /** Changes are begun here, and go on by themselves: one application does not wait for another. */
  async #lookNow(): Promise<void> {
    if (this.#isStopped) return;
    const { directory, applications } = this.#options;
    // First the watch, then the look: what comes between is seen twice, not missed. What is above tells that the directory
    // itself has come, or another one in its place.
    const above = nearestDirectory(dirname(directory));
    for (const path of [above, directory]) this.#watch(path);
    const names = filesIn(directory);
    // No directory is not an empty one: a disk that is not mounted removes nothing.
    if (names === undefined) return;
    const found = new Map<string, string>();
    const directories = new Set([above, directory]);
    for (const name of names) this.#consider(join(directory, name), names, found, directories);
    for (const file of this.#problems.keys()) if (!names.includes(basename(file))) this.#problems.delete(file);
    for (const state of applications.states) {
      if (state.origin === undefined || dirname(state.origin) !== directory) continue;
      const isThere = names.includes(basename(state.origin));
      if (!isThere && state.purpose !== "remove")
        this.#begin(state.name, state.origin, () => applications.remove(state.name, false));
    }
    for (const path of directories) this.#watch(path);
    for (const path of this.#watchers.keys()) if (!directories.has(path)) this.#unwatch(path);
  }

  #consider(file: string, names: readonly string[], found: Map<string, string>, directories: Set<string>): void {
    const { directory, namespace, applications } = this.#options;
    let version: Version;
    try {
      const { size } = statSync(file);
      if (size > 4 * MAX_FILE) throw new Error(`${file}: longer than ${MAX_FILE >> 10} KiB`);
      const environment = (name: string): string | undefined => process.env[name];
      version = readVersion(readFileSync(file, "utf8"), { file, directory, environment });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      const known = applications.states.find(({ origin }) => origin === file);
      this.#problem({ file, name: known?.name ?? nameOf(file), kind: "invalid", message: messageOf(error) });
      return;
    }
    const { name } = version.application;
    for (const path of version.files) directories.add(dirname(path));
    for (const warning of version.warnings) this.#options.log.debug(warning, { app: name });
    const other = found.get(name);
    if (other !== undefined) {
      const message = `${file}: ${other} is the application ${name}, too: give one of them another name: at the top`;
      this.#problem({ file, name, kind: "invalid", message });
      return;
    }
    found.set(name, file);
    // A file that has another name now is another application: the one it was goes.
    const renamed = applications.states.filter((state) => state.origin === file && state.name !== name);
    for (const state of renamed) this.#begin(state.name, file, () => applications.remove(state.name, false));
    const { origin, seen } = applications.states.find((one) => one.name === name) ?? {};
    const isMoved = origin !== undefined && dirname(origin) === directory && !names.includes(basename(origin));
    if (isMoved) applications.adopt(name, file);
    if (seen === version.source && (isMoved || origin === file)) {
      this.#problems.delete(file);
      return;
    }
    if (this.#begun.get(file) === version.source) return;
    this.#begun.set(file, version.source);
    this.#begin(name, file, async () => {
      try {
        await applications.apply(namespace, version, file);
      } finally {
        if (this.#begun.get(file) === version.source) this.#begun.delete(file);
      }
    });
  }

  #begin(name: string, file: string, work: () => Promise<unknown>): void {
    void work().then(
      () => {
        if (!this.#isStopped) this.#problems.delete(file);
      },
      (error: unknown) => {
        if (this.#isStopped) return;
        const message = messageOf(error);
        if (isPassing(error)) {
          this.#problem({ file, name, kind: "waiting", message });
          this.#tryAgain();
        } else if (
          this.#options.applications.states.some((state) => state.origin === file && state.result !== "applied")
        ) {
          // Its state tells.
          this.#problems.delete(file);
        } else {
          this.#problem({ file, name, kind: "invalid", message });
        }
      },
    );
  }

  #tryAgain(): void {
    if (this.#retry !== undefined || this.#isStopped) return;
    this.#retry = setTimeout(() => this.#look(), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MAX_MS);
  }

  #problem(problem: FileProblem): void {
    const before = this.#problems.get(problem.file);
    this.#problems.set(problem.file, problem);
    if (before?.message === problem.message) return;
    this.#options.log.error(`application ${problem.name}: ${problem.message}`);
    this.#options.onProblem?.(problem);
  }

  #watch(path: string): void {
    const identity = identityOf(path);
    if (this.#isStopped || (identity !== undefined && this.#watchers.get(path)?.identity === identity)) return;
    this.#unwatch(path);
    if (identity === undefined) return;
    try {
      const watcher = watch(path, () => this.#changed());
      watcher.on("error", () => this.#unwatch(path));
      this.#watchers.set(path, { watcher, identity });
    } catch (error) {
      this.#options.log.warn(`${path} cannot be watched: ${messageOf(error)}`);
    }
  }

  #unwatch(path: string): void {
    this.#watchers.get(path)?.watcher.close();
    this.#watchers.delete(path);
  }
}

/** Names of the files of a directory that are applications; undefined when there is no directory. */
function filesIn(directory: string): string[] | undefined {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => /^[^.#].*\.ya?ml$/.test(entry.name) && (entry.isFile() || entry.isSymbolicLink()))
      .map(({ name }) => name)
      .toSorted()
      .slice(0, MAX_FILES);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** What makes a directory this one; undefined when there is none. */
function identityOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat?.isDirectory() ? `${stat.dev} ${stat.ino} ${stat.birthtimeMs}` : undefined;
}

/** The directory itself, or what is there on the way to it. */
function nearestDirectory(path: string): string {
  let at = path;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  return at;
}

function nameOf(file: string): string {
  return basename(file).replace(/\.ya?ml$/, "");
}

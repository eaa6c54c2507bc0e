/** Watches directories by inotify. Nothing runs while nothing happens. */

import { type FSWatcher, watch } from "node:fs";
import { findPlaces } from "./places.ts";

/** Milliseconds that events are collected for. */
const CALM_MS = 300;
/**
 * What is mounted on a directory is no event of it. After a directory has appeared it is looked at again, after so many
 * milliseconds each time: whoever made it was about to mount something there.
 */
const AGAIN_MS = [1000, 2000, 7000, 20_000];

/** The watch of some patterns. */
export class PlaceWatch {
  readonly #patterns: readonly string[];
  readonly #changed: (directories: readonly string[]) => void;
  readonly #watchers = new Map<string, { readonly identity: string; readonly watcher: FSWatcher }>();
  #calm: Timer | undefined;
  #again: Timer | undefined;
  #isClosed = false;

  /** @param changed told of the directories that are there, when something in or about them has changed */
  constructor(patterns: readonly string[], changed: (directories: readonly string[]) => void) {
    this.#patterns = patterns;
    this.#changed = changed;
  }

  /** Looks now, and watches from then on. */
  look(): void {
    if (this.#isClosed) return;
    clearTimeout(this.#calm);
    this.#calm = undefined;
    const { matches, watched } = findPlaces(this.#patterns);
    let isNew = false;
    for (const [path, { identity, watcher }] of this.#watchers) {
      if (watched.get(path) === identity) continue;
      watcher.close();
      this.#watchers.delete(path);
    }
    for (const [path, identity] of watched) {
      if (!this.#watchers.has(path)) isNew = this.#watch(path, identity) || isNew;
    }
    if (isNew) this.#lookAgain(0);
    this.#changed(matches);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#calm);
    clearTimeout(this.#again);
    for (const { watcher } of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #watch(path: string, identity: string): boolean {
    try {
      const watcher = watch(path, () => this.#soon());
      watcher.on("error", () => this.#soon());
      watcher.unref();
      this.#watchers.set(path, { identity, watcher });
      return true;
    } catch {
      // It is gone again, or there are no more watches to be had: the next look tries it anew.
      return false;
    }
  }

  #soon(): void {
    if (this.#isClosed) return;
    this.#calm ??= setTimeout(() => this.look(), CALM_MS);
  }

  #lookAgain(step: number): void {
    clearTimeout(this.#again);
    const ms = AGAIN_MS[step];
    if (ms === undefined) return;
    this.#again = setTimeout(() => {
      this.look();
      this.#lookAgain(step + 1);
    }, ms);
  }
}

/** The archives of watched directories: each is imported once, when it is whole, and told of when it is refused. */

import { basename } from "node:path";
import { messageOf } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { codeOf } from "../image/unpack.ts";
import type { Log } from "../log/log.ts";
import { bytesOf, fingerprint, openPlain, signature } from "./files.ts";
import type { Taken } from "./taken.ts";

/** A file that was not written to for so many milliseconds is whole; one that is old by its own time at once. */
const SETTLED_MS = 2000;
const OLD_MS = 60_000;

/** What archives are imported with. */
export interface ArchivesParts {
  readonly taken: Taken;
  readonly log: Log;
  /** Imports an archive. @returns the names of its images @throws ContainerdError */
  readonly load: (bytes: AsyncIterable<Uint8Array>) => Promise<readonly string[]>;
  readonly onArrived: (path: string, images: readonly string[]) => void;
  readonly onFailed: (path: string, error: string) => void;
  /** Milliseconds; for tests. */
  readonly settledMs?: number;
}

/** How an archive does. */
export interface ArchiveState {
  readonly path: string;
  readonly state: "settling" | "waiting" | "importing" | "taken" | "failed";
  readonly images: readonly string[];
  readonly error: string;
}

interface Archive {
  signature: string;
  /** When it was seen to be so, on the clock that nobody sets. */
  since: number;
  state: ArchiveState["state"];
  images: readonly string[];
  error: string;
  /** True for a failure that another image may mend: the one that a delta is made of. */
  mayMend: boolean;
}

/** The archives of one daemon. */
export class Archives {
  readonly #parts: ArchivesParts;
  readonly #archives = new Map<string, Archive>();
  #running: Promise<void> | undefined;
  #paths: readonly string[] = [];
  #timer: Timer | undefined;
  #isClosed = false;
  #isStale = false;

  constructor(parts: ArchivesParts) {
    this.#parts = parts;
  }

  get state(): ArchiveState[] {
    return [...this.#archives].map(([path, { state, images, error }]) => ({ path, state, images, error }));
  }

  /** Takes the archives that are there now. Those that are gone are forgotten, their images stay. */
  see(paths: readonly string[]): void {
    this.#paths = paths;
    this.#isStale = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Tries what has failed once more. */
  retry(): void {
    for (const archive of this.#archives.values()) if (archive.state === "failed") archive.state = "waiting";
    this.see(this.#paths);
  }

  /** Ends; resolves when nothing is imported any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isStale && !this.#isClosed) {
      this.#isStale = false;
      await this.#look();
      for (let next = this.#next(); next !== undefined && !this.#isClosed; next = this.#next())
        await this.#take(...next);
    }
    this.#wait();
  }

  async #look(): Promise<void> {
    const present = new Set(this.#paths);
    for (const path of this.#archives.keys()) if (!present.has(path)) this.#archives.delete(path);
    for (const path of present) {
      const found = await signature(path);
      const known = this.#archives.get(path);
      if (found === undefined) this.#archives.delete(path);
      else if (known?.signature !== found.text) {
        const isOld = Date.now() - found.mtimeMs > OLD_MS;
        const since = isOld ? Number.NEGATIVE_INFINITY : performance.now();
        const fresh = { state: "settling", images: [], error: "", mayMend: false } as const;
        this.#archives.set(path, { signature: found.text, since, ...fresh });
      }
    }
    const now = performance.now();
    for (const archive of this.#archives.values()) {
      if (archive.state === "settling" && now - archive.since >= this.#settledMs) archive.state = "waiting";
    }
  }

  get #settledMs(): number {
    return this.#parts.settledMs ?? SETTLED_MS;
  }

  /** Looks again when what is being written may be whole. */
  #wait(): void {
    clearTimeout(this.#timer);
    const waits = [...this.#archives.values()]
      .filter(({ state }) => state === "settling")
      .map(({ since }) => since + this.#settledMs - performance.now());
    if (waits.length === 0 || this.#isClosed) return;
    this.#timer = setTimeout(() => this.see(this.#paths), Math.max(10, Math.min(...waits) + 10));
  }

  #next(): [path: string, archive: Archive] | undefined {
    return [...this.#archives].sort(([a], [b]) => (a < b ? -1 : 1)).find(([, { state }]) => state === "waiting");
  }

  async #take(path: string, archive: Archive): Promise<void> {
    const { taken, log, load, onArrived, onFailed } = this.#parts;
    archive.state = "importing";
    try {
      const file = await openPlain(path);
      let key: string;
      try {
        key = await fingerprint(file, basename(path));
      } catch (error) {
        await file.close();
        throw error;
      }
      const known = taken.get(key);
      if (known !== undefined) {
        await file.close();
        archive.images = known;
        archive.state = "taken";
        return;
      }
      archive.images = await load(bytesOf(file));
      // What was written to while it was read is another archive by now.
      if ((await signature(path))?.text === archive.signature) taken.add(key, archive.images);
      archive.state = "taken";
      log.info("imported images of a watched directory", { path, images: archive.images });
      onArrived(path, archive.images);
      for (const other of this.#archives.values()) {
        if (other.state === "failed" && other.mayMend) other.state = "waiting";
      }
    } catch (error) {
      if (this.#isClosed) return;
      archive.state = "failed";
      archive.error = messageOf(error);
      archive.mayMend = codeOf(error) === Code.FailedPrecondition;
      log.warn("an archive of a watched directory is refused; it is tried again when it changes", {
        path,
        error: archive.error,
      });
      onFailed(path, archive.error);
    }
  }
}

/** Images that come by themselves: out of watched directories, and from the list of images to fetch. */

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../proto/errdefs.ts";
import { berth } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { EdgeParts } from "../edge.ts";
import { isPinned, PINNED, PINNED_VALUE } from "../image/pinned.ts";
import { hostPlatform } from "../image/platform.ts";
import type { Progress } from "../image/progress.ts";
import { openRegistry } from "../image/registry/open.ts";
import type { End, StoreEnd } from "../image/transfer.ts";
import { codeOf } from "../image/unpack.ts";
import type { Family } from "../metrics/text.ts";
import { type ArchiveState, Archives } from "./archives.ts";
import { filesIn, readList } from "./files.ts";
import { Prefetch, type PrefetchState } from "./prefetch.ts";
import { Taken } from "./taken.ts";
import { PlaceWatch } from "./watch.ts";

const { ImagesArrived, ImagesFailed } = berth.v1;
/** Name of what an archive gives no name; the digest follows. */
const NAMELESS = "import";

/** The directory of the default root stands for that of any root. */
const IN_ROOT = "/var/lib/berth/images";

/** The directories that are watched. */
function directoriesOf({ root, images }: EdgeParts["config"]): string[] {
  return images.directories.map((path) => (path === IN_ROOT ? join(root, "images") : path));
}

/** What the room tells people. */
export interface OfflineState {
  readonly directories: readonly string[];
  readonly files: readonly ArchiveState[];
  readonly prefetched: readonly PrefetchState[];
  readonly pulled: Readonly<Record<string, number>>;
  readonly saved: Readonly<Record<string, number>>;
}

type Parts = Pick<EdgeParts, "config" | "log" | "exchange" | "images" | "content" | "transfers">;

/** The room of one daemon. */
export class OfflineRoom {
  readonly #parts: Parts;
  readonly #watch: PlaceWatch;
  readonly #archives: Archives;
  readonly #prefetch: Prefetch;
  readonly #stop = new AbortController();
  #directories: readonly string[] = [];
  #seeing: Promise<void> = Promise.resolve();

  private constructor(parts: Parts) {
    const { config, log } = parts;
    this.#parts = parts;
    const taken = new Taken(join(config.root, "offline", "taken.json"));
    const onArrived = (source: string, images: readonly string[]): void => this.#arrived(source, images);
    this.#archives = new Archives({
      ...{ taken, log, onArrived },
      load: (bytes) => this.#load(bytes),
      onFailed: (source, error) => this.#publish("failed", ImagesFailed.encode({ source, error }).finish()),
    });
    this.#prefetch = new Prefetch({
      log,
      has: (reference) => this.#has(reference),
      fetch: (reference, signal, moved) => this.#fetch(reference, signal, moved),
      onArrived: (reference) => onArrived(reference, [reference]),
    });
    this.#watch = new PlaceWatch(directoriesOf(config), (directories) => this.#see(directories));
  }

  /** Begins to watch and to fetch. */
  static open(parts: Parts): OfflineRoom {
    const room = new OfflineRoom(parts);
    const own = directoriesOf(parts.config).filter((path) => path.startsWith(`${parts.config.root}/`));
    for (const path of own) if (!path.includes("*")) mkdirSync(path, { recursive: true, mode: 0o755 });
    room.#watch.look();
    return room;
  }

  get state(): OfflineState {
    const { pulled = {}, saved = {} } = this.#parts.transfers.bytes?.state ?? {};
    const [files, prefetched] = [this.#archives.state, this.#prefetch.state];
    return { directories: this.#directories, files, prefetched, pulled, saved };
  }

  /** Looks at everything anew, and tries what has failed. */
  async scan(): Promise<void> {
    this.#watch.look();
    await this.#seeing;
    this.#archives.retry();
    this.#prefetch.retry();
  }

  families(): Family[] {
    return this.#parts.transfers.bytes?.families() ?? [];
  }

  async stop(): Promise<void> {
    this.#watch.close();
    this.#stop.abort();
    await this.#seeing;
    await Promise.all([this.#archives.close(), this.#prefetch.close()]);
  }

  #see(directories: readonly string[]): void {
    this.#directories = directories;
    this.#seeing = this.#seeing.then(async () => {
      if (this.#stop.signal.aborted) return;
      const files = (await Promise.all(directories.map(filesIn))).flat();
      this.#archives.see(files.filter(({ kind }) => kind === "archive").map(({ path }) => path));
      const wanted = [...this.#parts.config.images.prefetch];
      for (const { path } of files.filter(({ kind }) => kind === "list")) {
        wanted.push(
          ...(await readList(path).catch((error: unknown) => {
            this.#parts.log.warn("a list of images cannot be read", { path, error: messageOf(error) });
            return [];
          })),
        );
      }
      this.#prefetch.want(wanted);
    });
  }

  get #namespace(): string {
    return this.#parts.config.images.namespace;
  }

  #store(fields: Partial<StoreEnd>): StoreEnd {
    const { images, snapshotter } = this.#parts.config;
    const platform = hostPlatform();
    return {
      ...{ kind: "store", name: "", platforms: [platform], allMetadata: false, manifestLimit: 0, extraReferences: [] },
      labels: images.pin ? { [PINNED]: PINNED_VALUE } : {},
      unpacks: [{ platform, snapshotter: snapshotter.default }],
      ...fields,
    };
  }

  async #transfer(source: End, store: StoreEnd, signal: AbortSignal, report: (step: Progress) => void): Promise<void> {
    const namespace = this.#namespace;
    await this.#parts.transfers.transfer(source, store, { namespace, lease: undefined, signal, report });
  }

  async #load(bytes: AsyncIterable<Uint8Array>): Promise<readonly string[]> {
    const saved = new Set<string>();
    const reference = { name: NAMELESS, isPrefix: true, allowOverwrite: true, addDigest: true, skipNamedDigest: true };
    const store = this.#store({ extraReferences: [reference] });
    await this.#transfer(
      { kind: "import", bytes, mediaType: "", compress: false },
      store,
      this.#stop.signal,
      (step) => {
        if (step.event === "saved" && step.name) saved.add(step.name);
      },
    );
    return [...saved];
  }

  async #fetch(reference: string, signal: AbortSignal, moved: (done: number, total: number) => void): Promise<void> {
    const { config } = this.#parts;
    const { credentialsFor } = await import("../cli/image/credentials.ts");
    const registry = openRegistry({
      reference,
      headers: {},
      hostDirectory: config.registry.configPath.find((path) => existsSync(path)) ?? "",
      defaultScheme: "",
      credentials: {
        async get(host) {
          const found = await credentialsFor(host);
          return found && { ...found, header: "" };
        },
      },
    });
    const blobs = new Map<string, { done: number; total: number }>();
    await this.#transfer({ kind: "registry", registry }, this.#store({ name: reference }), signal, (step) => {
      if (step.descriptor === undefined) return;
      blobs.set(step.descriptor.digest, { done: step.progress ?? 0, total: step.total ?? 0 });
      const sum = (of: "done" | "total"): number => [...blobs.values()].reduce((total, blob) => total + blob[of], 0);
      moved(sum("done"), sum("total"));
    });
  }

  /** True when an image is there; it is pinned then. */
  async #has(reference: string): Promise<boolean> {
    const { images, content, config } = this.#parts;
    const namespace = this.#namespace;
    try {
      const image = images.get(namespace, reference);
      // The record was made when all of it was there; of what got damaged since, `berth check --repair` knows.
      if (!content.records.hasBlob(namespace, image.target?.digest ?? "")) return false;
      if (config.images.pin && !isPinned({ ...image.labels })) {
        const change = { name: reference, labels: { [PINNED]: PINNED_VALUE } };
        await images.update(namespace, change, [`labels.${PINNED}`]);
      }
      return true;
    } catch (error) {
      if (codeOf(error) !== Code.NotFound) throw error;
      return false;
    }
  }

  #arrived(source: string, images: readonly string[]): void {
    this.#publish("arrived", ImagesArrived.encode({ source, images: [...images] }).finish());
  }

  #publish(what: "arrived" | "failed", value: Uint8Array): void {
    const name = `berth.v1.Images${what === "arrived" ? "Arrived" : "Failed"}`;
    this.#parts.exchange.publish(this.#namespace, `/berth/images/${what}`, { name, value });
  }
}

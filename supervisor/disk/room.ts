/**
 * The room on the disk: looked at soon after something was recorded, when something new is asked for, and now and then
 * while containers run, whose files and logs grow without the daemon. A node on which nothing runs is not looked at.
 */

import { join } from "node:path";
import { ContainerdError, messageOf } from "../../proto/errdefs.ts";
import { berth } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Config } from "../config.ts";
import type { Exchange } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import type { Family } from "../metrics/text.ts";
import type { Database } from "../store/database.ts";
import { type Evicted, type EvictParts, evict, evictable } from "./evict.ts";
import { diskFamilies } from "./families.ts";
import { logFamilies } from "./log-families.ts";
import { RecentUses } from "./recent.ts";
import {
  isAbove,
  type Level,
  levelOf,
  showBytes,
  showVolume,
  showWatermark,
  type Volume,
  volumesOf,
} from "./volume.ts";

/** A look at the disk follows a write after this time, so that many writes are one reason to look. */
const SOON_MS = 1000;
/** While blobs are written, whose length is not known, it is looked this often. */
const WRITING_MS = 5000;
/** While a file system is full, what was measured counts this long for those who ask for room. */
const FRESH_MS = 200;
/** Who asks for room waits this long for it to be made. */
const ROOM_MS = 20_000;
/** After an eviction that did not help: the next one by itself, and the next one that is asked for. */
const RETRY_MS = { soonest: 60_000, asked: 5_000 } as const;

/** What the room is made of at first. */
export interface DiskOptions {
  readonly config: Pick<Config, "root" | "state" | "disk">;
  readonly database: Database;
  readonly exchange: Pick<Exchange, "publish" | "subscribe">;
  readonly log: Log;
}

/** What it needs to make room, and to know when to look. */
export interface DiskParts extends Pick<EvictParts, "collector" | "images"> {
  readonly snapshots: { readonly names: readonly string[]; cleanup(name: string): Promise<void> };
  /** How many tasks there are. */
  readonly tasks: () => Promise<number>;
  /** True while a blob is being written. */
  readonly isWriting: () => boolean;
}

/** What is asked for when something new is made. */
export type Wanted = "content" | "container";

/** The disk of one daemon. */
export class DiskRoom {
  readonly #options: DiskOptions;
  readonly #recent: RecentUses;
  readonly #levels = new Map<number, Level>();
  readonly #counts = { garbage: 0, image: 0, log: 0 };
  readonly #bytes = { garbage: 0, image: 0, log: 0 };
  readonly #ended = new AbortController();
  #refused = 0;
  #parts: DiskParts | undefined;
  #soon: Timer | undefined;
  #timer: Timer | undefined;
  #measured: { readonly at: number; readonly volumes: Promise<readonly Volume[]> } | undefined;
  #running: Promise<Evicted[]> | undefined;
  /** When the last eviction ended that left a file system above the high watermark. */
  #fruitlessAt = Number.NEGATIVE_INFINITY;

  constructor(options: DiskOptions) {
    this.#options = options;
    this.#recent = new RecentUses(options.database, options.config.disk.keepImages);
  }

  /** Begins to look. */
  start(parts: DiskParts): void {
    this.#parts = parts;
    this.#options.database.watch(({ hasInserted }) => {
      if (hasInserted) this.#lookSoon();
    });
    this.#lookSoon();
    void this.#follow();
  }

  /**
   * Makes sure that there is room for something new, by eviction if need be.
   * @throws ContainerdError ResourceExhausted when a file system is above its critical watermark
   */
  async admit(wanted: Wanted): Promise<void> {
    if ((await this.#full(wanted)) === undefined) return;
    if (performance.now() - this.#fruitlessAt > RETRY_MS.asked) {
      await Promise.race([this.#evict(), Bun.sleep(ROOM_MS)]);
      this.#measured = undefined;
    }
    const full = await this.#full(wanted);
    if (full === undefined) return;
    this.#refused++;
    const what = wanted === "content" ? "content" : "containers";
    throw new ContainerdError(
      Code.ResourceExhausted,
      `no room for new ${what}: the disk of ${full.paths[0]} is ${showVolume(full)}, and [disk] critical is ${showWatermark(this.#options.config.disk.critical)}: remove images or containers, or make the disk larger: resource exhausted`,
    );
  }

  /** The file systems that the daemon writes to. */
  volumes(): Promise<readonly Volume[]> {
    const { root, state } = this.#options.config;
    return volumesOf([root, state, ...this.logDirectories]);
  }

  levelOf(volume: Volume): Level {
    return levelOf(volume, this.#marks);
  }

  /** What could be evicted, in order, with what it takes. */
  evictable(): Promise<Evicted[]> {
    return evictable(this.#evictParts);
  }

  /**
   * Makes room, also where there is enough.
   * @param all true: until nothing is left that may go; false: until every file system is below its low watermark
   */
  async makeRoom(all: boolean): Promise<Evicted[]> {
    await this.#running?.catch(() => undefined);
    return this.#evict(all ? () => true : undefined);
  }

  /** Looks at the disk, and makes room where it is above the high watermark. */
  async look(): Promise<void> {
    this.#recent.note();
    const volumes = await this.volumes();
    for (const volume of volumes) this.#tellLevel(volume);
    const isHigh = volumes.some((volume) => isAbove(volume, this.#marks.high));
    if (!isHigh) this.#fruitlessAt = Number.NEGATIVE_INFINITY;
    else if (performance.now() - this.#fruitlessAt > RETRY_MS.soonest) await this.#evict();
  }

  async families(): Promise<Family[]> {
    const disk = diskFamilies({
      volumes: await this.volumes(),
      levelOf: (volume) => this.levelOf(volume),
      counts: this.#counts,
      bytes: this.#bytes,
      refused: this.#refused,
      reserve: this.#options.database.reserve,
    });
    return [...disk, ...(await logFamilies(this.logDirectories))];
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    clearTimeout(this.#soon);
    clearTimeout(this.#timer);
    await this.#running?.catch(() => undefined);
  }

  get #marks() {
    const { highWatermark: high, lowWatermark: low, critical } = this.#options.config.disk;
    return { high, low, critical };
  }

  /** Where containers' logs are, on disk and in memory. */
  get logDirectories(): string[] {
    const { root, state } = this.#options.config;
    return [join(root, "logs"), join(state, "logs")];
  }

  get #evictParts(): EvictParts {
    const { database, config, log } = this.#options;
    const parts = this.#parts;
    if (parts === undefined) throw new ContainerdError(Code.Unavailable, "berthd is starting: unavailable");
    const { snapshots } = parts;
    return {
      ...{ database, root: config.root, collector: parts.collector, images: parts.images },
      snapshots: { cleanupOwn: async () => void (await Promise.all(snapshots.names.map((n) => snapshots.cleanup(n)))) },
      logDirectories: this.logDirectories,
      isRecent: (image) => this.#recent.isRecent(image),
      measure: () => this.volumes(),
      onError: (what, error) => log.warn("cannot evict", { what, error }),
    };
  }

  /** The file system that is too full for something. */
  async #full(wanted: Wanted): Promise<Volume | undefined> {
    const { root, state } = this.#options.config;
    const places = wanted === "content" ? [root] : [root, state];
    if (this.#measured === undefined || performance.now() - this.#measured.at > FRESH_MS) {
      this.#measured = { at: performance.now(), volumes: this.volumes() };
    }
    const volumes = await this.#measured.volumes;
    return volumes.find(
      (volume) => isAbove(volume, this.#marks.critical) && places.some((path) => volume.paths.includes(path)),
    );
  }

  /** One eviction at a time. */
  #evict(needsRoom: (volume: Volume) => boolean = (volume) => isAbove(volume, this.#marks.low)): Promise<Evicted[]> {
    this.#running ??= this.#run(needsRoom).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #run(needsRoom: (volume: Volume) => boolean): Promise<Evicted[]> {
    const { log } = this.#options;
    this.#recent.note();
    const before = await this.volumes();
    const gone = await evict(this.#evictParts, needsRoom);
    for (const { kind, bytes } of gone) {
      this.#counts[kind]++;
      this.#bytes[kind] += bytes;
    }
    const after = await this.volumes();
    const why = before.filter(needsRoom).map((volume) => `${volume.paths[0]} was ${showVolume(volume)}`);
    if (gone.length > 0) {
      const evicted = gone.map(({ kind, namespace, name, bytes }) =>
        `${kind} ${namespace === "" ? name : `${namespace}/${name}`} (${showBytes(bytes)})`.replace("  ", " "),
      );
      log.warn("made room on the disk", { why, evicted });
    }
    const still = after.filter((volume) => isAbove(volume, this.#marks.high));
    this.#fruitlessAt = still.length > 0 ? performance.now() : Number.NEGATIVE_INFINITY;
    if (still.length > 0) {
      const disks = still.map((volume) => `${volume.paths[0]} is ${showVolume(volume)}`);
      log.warn("the disk is too full, and nothing is left to evict: remove images, containers or volumes", { disks });
    }
    for (const volume of after) {
      this.#tellLevel(volume);
      if (gone.length > 0 && before.some(({ device }) => device === volume.device)) this.#publish(volume, gone);
    }
    return gone;
  }

  #tellLevel(volume: Volume): void {
    const level = this.levelOf(volume);
    const before = this.#levels.get(volume.device) ?? "ok";
    this.#levels.set(volume.device, level);
    if (level === before) return;
    const fields = { level, before, disk: `${volume.paths[0]} is ${showVolume(volume)}` };
    if (level === "ok") this.#options.log.info("there is room on the disk again", fields);
    else this.#options.log.warn("the disk fills up", fields);
    this.#publish(volume, []);
  }

  #publish(volume: Volume, evicted: readonly Evicted[]): void {
    const message = { volume: { ...volume, level: this.levelOf(volume) }, evicted };
    const value = berth.v1.DiskEvent.encode({
      volume: { ...message.volume, paths: [...volume.paths] },
      evicted: [...evicted],
    }).finish();
    this.#options.exchange.publish("berth", "/berth/disk", { name: "berth.v1.DiskEvent", value });
  }

  #lookSoon(ms = SOON_MS): void {
    if (this.#soon !== undefined || this.#ended.signal.aborted) return;
    this.#soon = setTimeout(() => {
      this.#soon = undefined;
      this.#lookQuietly();
      if (this.#parts?.isWriting()) this.#lookSoon(WRITING_MS);
    }, ms);
    this.#soon.unref();
  }

  #lookQuietly(): void {
    this.look().catch((error) => this.#options.log.warn("cannot look at the disk", { error: messageOf(error) }));
  }

  /** Looks now and then from the start of a task until there is none. */
  async #follow(): Promise<void> {
    this.#arm();
    for await (const _ of this.#options.exchange.subscribe(['topic=="/tasks/start"'], this.#ended.signal)) this.#arm();
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#ended.signal.aborted) return;
    this.#timer = setTimeout(
      async () => {
        this.#timer = undefined;
        const tasks = await this.#parts?.tasks().catch(() => 1);
        if (tasks === 0) return;
        this.#lookQuietly();
        this.#arm();
      },
      Math.max(SOON_MS, this.#options.config.disk.checkInterval),
    );
    this.#timer.unref();
  }
}

/** The whole status as one document. */

import { imageBytes } from "../disk/candidates.ts";
import type { DiskRoom } from "../disk/room.ts";
import { usage as diskUsage } from "../disk/usage.ts";
import { isPinned } from "../image/pinned.ts";
import type { Database } from "../store/database.ts";
import { decodeLabels } from "../store/labels.ts";
import { type ContainersParts, containerStatuses } from "./containers.ts";
import type { RecentEvents } from "./events.ts";
import { nodeStatus } from "./node.ts";
import type { Sampler } from "./sampler.ts";

/** Images that are shown, at most. */
const MAX_IMAGES = 500;
/** The document is made once for all who ask within this time, in milliseconds. */
const FRESH_MS = 900;
/** What changes slowly is looked at this often, in milliseconds. */
const SLOW_MS = 10_000;

/** An application. */
export interface ApplicationStatus {
  readonly name: string;
  readonly namespace: string;
  readonly state: string;
  readonly revision: number;
  /** The last one that became healthy. */
  readonly goodRevision: number;
  readonly error: string;
  readonly running: number;
  readonly containers: number;
}

/** Where it comes from. */
export interface DocumentParts extends Omit<ContainersParts, "sampler"> {
  readonly version: string;
  readonly boots: number | undefined;
  readonly database: Database;
  readonly disk: DiskRoom;
  readonly sampler: Sampler;
  readonly events: Pick<RecentEvents, "list">;
  readonly applications: () => Promise<readonly ApplicationStatus[]>;
  /** True when something can be changed with a token. */
  readonly hasToken: boolean;
}

/** The document of one daemon; made when somebody asks, and not otherwise. */
export class Document {
  readonly #parts: DocumentParts;
  readonly #made = new Map<boolean, { readonly at: number; readonly text: Promise<string> }>();
  #slow: { readonly at: number; readonly value: Promise<Record<string, unknown>> } | undefined;

  constructor(parts: DocumentParts) {
    this.#parts = parts;
  }

  /** The document as JSON. @param plots true: with the last minutes of measurements */
  text(plots: boolean): Promise<string> {
    const now = performance.now();
    const known = this.#made.get(plots);
    if (known !== undefined && now - known.at < FRESH_MS) return known.text;
    const text = this.#make(plots);
    this.#made.set(plots, { at: now, text });
    text.catch(() => this.#made.delete(plots));
    return text;
  }

  async #make(plots: boolean): Promise<string> {
    const { version, boots, sampler, events, applications, hasToken } = this.#parts;
    await sampler.measure();
    const [containers, apps, slow] = await Promise.all([
      containerStatuses(this.#parts),
      applications(),
      this.#slowParts(),
    ]);
    return JSON.stringify({
      version,
      hasToken,
      node: nodeStatus(boots),
      berthd: {
        pid: process.pid,
        uptime: Math.round(process.uptime()),
        memory: process.memoryUsage.rss(),
      },
      containers: containers.map(({ usage, ...rest }) => {
        if (usage === undefined) return rest;
        const { cpuPlot, memoryPlot, ...latest } = usage;
        return { ...rest, usage: plots ? { ...latest, cpuPlot, memoryPlot } : latest };
      }),
      applications: apps,
      ...slow,
      events: events.list(),
    });
  }

  #slowParts(): Promise<Record<string, unknown>> {
    const now = performance.now();
    if (this.#slow === undefined || now - this.#slow.at > SLOW_MS) {
      this.#slow = { at: now, value: this.#readSlow() };
      this.#slow.value.catch(() => {
        this.#slow = undefined;
      });
    }
    return this.#slow.value;
  }

  async #readSlow(): Promise<Record<string, unknown>> {
    const { database, disk } = this.#parts;
    const volumes = await disk.volumes();
    const { bytes, isHeld } = database.reserve;
    return {
      images: images(database),
      disk: {
        volumes: volumes.map(({ device: _, ...volume }) => ({
          ...volume,
          level: disk.levelOf({ device: 0, ...volume }),
        })),
        parts: await diskUsage(database, disk),
        reserve: { bytes, isHeld },
      },
    };
  }
}

/** Images with their sizes (the blobs that their labels refer to), and how many containers are made of them by any name. */
function images(database: Database) {
  return database
    .all<{ namespace: string; name: string; digest: string; labels: string; containers: number }>(
      `SELECT i.namespace, i.name, i.digest, i.labels,
         (SELECT COUNT(*) FROM containers c JOIN images j ON j.namespace = c.namespace AND j.name = c.image
          WHERE c.namespace = i.namespace AND j.digest = i.digest) AS containers
       FROM images i ORDER BY i.namespace, i.name LIMIT ${MAX_IMAGES}`,
    )
    .map(({ labels, ...image }) => ({
      ...image,
      size: imageBytes(database, image),
      isPinned: isPinned(decodeLabels(labels)),
    }));
}

/**
 * Making room: what is not needed goes, in order, until every file system is below its low watermark. First garbage, then
 * images that nobody uses, then rotated logs. A container, its image, the log that it writes, what is pinned, and volumes
 * never go.
 */

import { rm } from "node:fs/promises";
import { messageOf } from "../../proto/errdefs.ts";
import type { Database } from "../store/database.ts";
import { type Candidate, candidates, imageBytes } from "./candidates.ts";
import { logFiles } from "./logs.ts";
import type { Volume } from "./volume.ts";

/** Something that went to make room. */
export interface Evicted {
  readonly kind: "garbage" | "image" | "log";
  /** Empty for what belongs to none. */
  readonly namespace: string;
  /** The image's name, the log's path. */
  readonly name: string;
  /** Room that it gave; of something that would only go, what it takes. */
  readonly bytes: number;
}

/** What can remove things. */
export interface EvictParts {
  readonly database: Pick<Database, "all" | "get">;
  readonly collector: { collect(): Promise<unknown> };
  readonly images: { delete(namespace: string, name: string): Promise<void> };
  readonly snapshots: { cleanupOwn(): Promise<void> };
  /** Where blobs and snapshots are. */
  readonly root: string;
  /** Where containers' logs are. */
  readonly logDirectories: readonly string[];
  /** Images that must stay, since they were used just now. */
  readonly isRecent: (image: Candidate) => boolean;
  /** The file systems as they are now. */
  readonly measure: () => Promise<readonly Volume[]>;
  readonly onError: (what: string, error: string) => void;
}

/** How far an eviction goes: true for a file system that still needs room. */
export type NeedsRoom = (volume: Volume) => boolean;

/** Makes room until no file system needs any, or nothing is left that may go. @returns what went, in that order */
export async function evict(parts: EvictParts, needsRoom: NeedsRoom): Promise<Evicted[]> {
  const gone: Evicted[] = [];
  let volumes = await parts.measure();
  const isShort = (path: string): boolean => volumes.some((volume) => volume.paths.includes(path) && needsRoom(volume));
  /** Does something and notes the room that it gave. */
  const step = async (what: Omit<Evicted, "bytes">, work: () => Promise<void>, path: string): Promise<void> => {
    const room = (): number => volumes.find(({ paths }) => paths.includes(path))?.available ?? 0;
    const before = room();
    try {
      await work();
    } catch (error) {
      parts.onError(`evict ${what.kind} ${what.name}`, messageOf(error));
      return;
    }
    volumes = await parts.measure();
    const bytes = Math.max(0, room() - before);
    if (what.kind !== "garbage" || bytes > 0) gone.push({ ...what, bytes });
  };
  const collect = async (): Promise<void> => {
    await parts.collector.collect();
    await parts.snapshots.cleanupOwn();
  };

  if (isShort(parts.root)) await step({ kind: "garbage", namespace: "", name: "" }, collect, parts.root);
  const tried = new Set<string>();
  while (isShort(parts.root)) {
    // Asked anew each time: one may be in use by now.
    const next = candidates(parts.database).find((image) => !tried.has(keyOf(image)) && !parts.isRecent(image));
    if (next === undefined) break;
    tried.add(keyOf(next));
    const { namespace, name } = next;
    const remove = async (): Promise<void> => {
      await parts.images.delete(namespace, name);
      await collect();
    };
    await step({ kind: "image", namespace, name }, remove, parts.root);
  }
  for (const directory of parts.logDirectories) {
    if (!isShort(directory)) continue;
    for (const { path, isRotated } of await logFiles(directory)) {
      if (!isRotated) continue;
      if (!isShort(directory)) break;
      await step({ kind: "log", namespace: "", name: path }, () => rm(path, { force: true }), directory);
    }
  }
  return gone;
}

/** What could go, in order, with the room that each takes. */
export async function evictable({ database, isRecent, logDirectories }: EvictParts): Promise<Evicted[]> {
  const images = candidates(database).filter((image) => !isRecent(image));
  const logs = await Promise.all(logDirectories.map(logFiles));
  return [
    ...images.map(
      (image): Evicted => ({
        kind: "image",
        namespace: image.namespace,
        name: image.name,
        bytes: imageBytes(database, image),
      }),
    ),
    ...logs
      .flat()
      .filter(({ isRotated }) => isRotated)
      .map(({ path, bytes }): Evicted => ({ kind: "log", namespace: "", name: path, bytes })),
  ];
}

function keyOf({ namespace, name }: Candidate): string {
  return `${namespace} ${name}`;
}

/**
 * Room on the disk that is kept for the day on which it is full, so that what takes room can then still be removed: a
 * removal has to write its record, too. It is given up for a removal, and taken again when there is room; until then
 * nothing new is recorded.
 */

import { closeSync, fstatSync, openSync, rmSync, statfsSync, statSync, truncateSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { ContainerdError } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";

/** As much as the log may hold before it goes into the database: the database may grow by that when it does. */
export const MIN_RESERVE = 4 << 20;
/** The part of a file system that the reserve may take, where that is more than {@link MIN_RESERVE}. */
const MAX_PART = 50;
/** How often taking the reserve again is tried, in milliseconds. */
const RETRY_MS = 1000;

const zeros = new Uint8Array(1 << 18);

/** Tables whose new rows are what fills a disk. */
const creating =
  /^\s*(?:INSERT|REPLACE)\b.*?\bINTO\s+(?:blobs|containers|images|ingests|leases|sandboxes|snapshots|mounts)\b/is;

/** True for a statement that records something new, and is refused while the disk is full. */
export function isCreating(sql: string): boolean {
  return creating.test(sql);
}

/** True for an error of SQLite that means a full disk. */
export function isFull(error: unknown): boolean {
  if (typeof error !== "object" || error === null || !("code" in error)) return false;
  return error.code === "SQLITE_FULL" || error.code === "ENOSPC" || error.code === "EDQUOT";
}

/** What a client is told when there is no room for a record. */
export function diskFull(path: string, cause?: unknown): ContainerdError {
  const message = `no room left on the disk of ${path}: remove images, containers or snapshots: resource exhausted`;
  return new ContainerdError(Code.ResourceExhausted, message, { cause });
}

/** The reserve of one database. */
export class Reserve {
  readonly #path: string;
  /** How much it is when it is held. */
  readonly bytes: number;
  #isHeld: boolean;
  #nextTry = 0;

  /**
   * Takes the reserve, if there is room.
   * @param path of its file
   * @param wanted bytes; a small disk gives less
   */
  constructor(path: string, wanted: number = MIN_RESERVE) {
    this.#path = path;
    this.bytes = Math.max(MIN_RESERVE, Math.min(wanted, Math.floor(totalOf(dirname(path)) / MAX_PART)));
    const size = sizeOf(path);
    // It may have been larger under another configuration.
    if (size > this.bytes) truncateSync(path, this.bytes);
    this.#isHeld = size >= this.bytes || this.#take();
  }

  /** True while there is room for what is new; tries now and then to take the reserve again. */
  get isHeld(): boolean {
    if (!this.#isHeld && performance.now() >= this.#nextTry) this.#isHeld = this.#take();
    return this.#isHeld;
  }

  /** Gives the room up. @returns false when it was given up before */
  giveUp(): boolean {
    const had = this.#isHeld;
    this.#isHeld = false;
    this.#nextTry = performance.now() + RETRY_MS;
    rmSync(this.#path, { force: true });
    return had;
  }

  #take(): boolean {
    this.#nextTry = performance.now() + RETRY_MS;
    try {
      grow(this.#path, this.bytes);
      return true;
    } catch {
      // Half of it is no help, and others may need the room.
      rmSync(this.#path, { force: true });
      return false;
    }
  }
}

/**
 * Makes a file at least this long, by zeros that take room.
 * @throws NodeJS.ErrnoException ENOSPC
 */
export function grow(path: string, size: number): void {
  const file = openSync(path, "a", 0o600);
  try {
    for (let at = fstatSync(file).size; at < size; ) at += writeSync(file, zeros, 0, Math.min(zeros.length, size - at));
  } finally {
    closeSync(file);
  }
}

/** Bytes of the file system of a directory. */
function totalOf(directory: string): number {
  const { blocks, bsize } = statfsSync(directory);
  return blocks * bsize;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/**
 * An ingest on disk: a directory with `data`, `ref`, `startedat`, `updatedat` and `total`, as containerd has it. `ref`
 * is NAMESPACE/NUMBER/REF, and the directory's name its SHA-256, so that an ingest can be told from the files alone.
 * `synced` is berth's own (mark.ts).
 */

import { type FileHandle, mkdir, open, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CHUNK, errnoOf, hashFile } from "./disk.ts";
import { sureBytes, writeMark } from "./mark.ts";
import type { IngestRecord } from "./records.ts";

/** The key of an ingest, unique for all times. @param startedAt microseconds */
export function ingestKey(namespace: string, startedAt: number, ref: string): string {
  return `${namespace}/${startedAt}/${ref}`;
}

/** The name of an ingest's directory. */
export function ingestName(key: string): string {
  return new Bun.CryptoHasher("sha256").update(key).digest("hex");
}

/** A time as containerd writes it into files. */
function timeText(micros: number): string {
  return new Date(micros / 1000).toISOString();
}

/**
 * Makes the directory of an ingest and opens its data.
 * @throws Error of the file system; then nothing is left of it
 */
export async function createIngest(path: string, namespace: string, record: IngestRecord): Promise<FileHandle> {
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { mode: 0o755 });
  try {
    const started = timeText(record.startedAt);
    const [file] = await Promise.all([
      open(join(path, "data"), "wx+", 0o644),
      writeFile(join(path, "ref"), ingestKey(namespace, record.startedAt, record.ref)),
      writeFile(join(path, "startedat"), started),
      writeFile(join(path, "updatedat"), started),
      record.total > 0 ? writeFile(join(path, "total"), String(record.total)) : undefined,
      writeMark(path, 0, false),
    ]);
    return file;
  } catch (error) {
    await removeIngest(path);
    throw error;
  }
}

/**
 * Opens the data of an ingest that was left, cuts off what a power cut may have changed, and hashes the rest.
 * @returns undefined when the directory is not whole
 */
export async function resumeIngest(
  path: string,
  hasher: Bun.CryptoHasher,
): Promise<{ file: FileHandle; offset: number } | undefined> {
  let file: FileHandle;
  try {
    file = await open(join(path, "data"), "r+");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const { size } = await file.stat();
    const sure = await sureBytes(path, size);
    if (sure < size) await file.truncate(sure);
    return { file, offset: await hashFile(file, hasher) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** How far an ingest has come; undefined when it has no data. */
export async function ingestProgress(path: string): Promise<{ offset: number; updatedAt: number } | undefined> {
  try {
    const { size, mtimeNs } = await stat(join(path, "data"), { bigint: true });
    return { offset: Number(size), updatedAt: Number(mtimeNs / 1000n) };
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Notes when an ingest was written last. */
export async function touchIngest(path: string, micros: number): Promise<void> {
  await writeFile(join(path, "updatedat"), timeText(micros));
}

/** Removes an ingest's directory, if it is there. */
export async function removeIngest(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

/** Bytes that may wait to be written before the writer has to wait. */
const MAX_QUEUED = 4 * CHUNK;
/**
 * Bytes after which the disk is told to begin, so that little is left to do when the blob is committed, and so that a
 * power cut loses no more. Of a slow stream less is kept waiting: a megabyte, for as many milliseconds.
 */
const SYNC_EVERY = 16 * CHUNK;
const SYNC_AFTER = { bytes: CHUNK, ms: 10_000 };

/**
 * Appends to a file in order, off the event loop. Buffers that wait are written together. After a failure nothing more
 * is written, and every call throws it.
 */
export class Appender {
  readonly #file: FileHandle;
  #position: number;
  #queue: Uint8Array[] = [];
  #queued = 0;
  #pump: Promise<void> | undefined;
  #sync: Promise<void> | undefined;
  #synced: number;
  #syncedAt = performance.now();
  #failure: unknown;
  readonly #onSynced: (position: number) => Promise<void>;

  /** @param onSynced told, one call after another, up to where the file was synced on the way */
  constructor(file: FileHandle, position: number, onSynced = (_position: number) => Promise.resolve()) {
    this.#file = file;
    this.#position = position;
    this.#synced = position;
    this.#onSynced = onSynced;
  }

  /** True when everything taken so far is in the file. */
  get isWhole(): boolean {
    return this.#failure === undefined && this.#queued === 0;
  }

  /** Takes bytes, which must not change afterwards. Resolves when more may be given. */
  async append(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#pump ??= this.#write();
    if (this.#queued > MAX_QUEUED) await this.settle();
  }

  /** Resolves when everything taken so far is written. */
  async settle(): Promise<void> {
    await this.#pump;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Resolves when everything taken so far survives a power cut. */
  async sync(): Promise<void> {
    await this.settle();
    await this.#sync;
    // The kernel tells of a failure once: the next sync would succeed.
    if (this.#failure !== undefined) throw this.#failure;
    await this.#file.datasync();
  }

  /** Waits for what is under way, whatever comes of it. */
  async idle(): Promise<void> {
    await this.#pump;
    await this.#sync;
  }

  async #write(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        let batch = this.#queue;
        this.#queue = [];
        while (batch.length > 0) {
          const { bytesWritten } = await this.#file.writev(batch, this.#position);
          this.#position += bytesWritten;
          this.#queued -= bytesWritten;
          batch = withoutFirst(batch, bytesWritten);
        }
        const waiting = this.#position - this.#synced;
        const isLate = waiting >= SYNC_AFTER.bytes && performance.now() - this.#syncedAt >= SYNC_AFTER.ms;
        if (waiting >= SYNC_EVERY || isLate) this.#startSync();
      }
    } catch (error) {
      this.#failure = error ?? new Error("write failed");
      this.#queue = [];
      this.#queued = 0;
    } finally {
      this.#pump = undefined;
    }
  }

  #startSync(): void {
    if (this.#sync !== undefined) return;
    const position = this.#position;
    this.#synced = position;
    this.#syncedAt = performance.now();
    const synced = this.#file.datasync().catch((error: unknown) => {
      // A sync that failed may not fail again: the blob must not be committed.
      this.#failure ??= error;
      throw error;
    });
    this.#sync = synced
      .then(() => this.#onSynced(position))
      // Without the mark a power cut costs more, and nothing else.
      .catch(() => undefined)
      .finally(() => {
        this.#sync = undefined;
      });
  }
}

/** What is left of buffers when their first `count` bytes are gone. */
function withoutFirst(buffers: Uint8Array[], count: number): Uint8Array[] {
  let left = count;
  let index = 0;
  for (; index < buffers.length; index++) {
    const length = buffers[index]?.length ?? 0;
    if (left < length) break;
    left -= length;
  }
  const rest = buffers.slice(index);
  if (left > 0 && rest[0]) rest[0] = rest[0].subarray(left);
  return rest;
}

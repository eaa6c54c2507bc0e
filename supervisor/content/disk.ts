/** Files of the content store: reads and writes off the event loop, and what a failing disk means to a client. */

import { type FileHandle, open } from "node:fs/promises";
import { ContainerdError, messageOf, unknown } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";

/** Bytes that are read or hashed at a time: small enough that the event loop never waits a millisecond for one. */
export const CHUNK = 1 << 20;

const full: readonly string[] = ["ENOSPC", "EDQUOT"];

/** The system's name of a failure, such as "ENOENT"; undefined when it has none. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/**
 * What a client is told of a failed file operation: ResourceExhausted when the disk has no room, else Unknown.
 * @param what what was being done, such as "write ingest x"
 */
export function diskError(error: unknown, what: string): ContainerdError {
  if (error instanceof ContainerdError) return error;
  if (full.includes(errnoOf(error) ?? "")) {
    const message = `${what}: no space or no inodes left on the device; remove images or containers: resource exhausted`;
    return new ContainerdError(Code.ResourceExhausted, message, { cause: error });
  }
  return unknown(`${what}: ${messageOf(error)}`, error);
}

/** Writes all of `bytes` at `position`. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/** Reads until `bytes` is full or the file ends. @returns how many bytes were read */
export async function readFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Hashes a file from its beginning to its end. @returns how many bytes it has */
export async function hashFile(file: FileHandle, hasher: Bun.CryptoHasher, signal?: AbortSignal): Promise<number> {
  // Two buffers: one is read into while the other is hashed.
  const buffers = [new Uint8Array(CHUNK), new Uint8Array(CHUNK)] as const;
  let position = 0;
  let pending = readFully(file, buffers[0], 0);
  for (let turn = 1; ; turn++) {
    const length = await pending;
    signal?.throwIfAborted();
    const filled = turn % 2 === 1 ? buffers[0] : buffers[1];
    position += length;
    if (length === CHUNK) pending = readFully(file, turn % 2 === 1 ? buffers[1] : buffers[0], position);
    hasher.update(filled.subarray(0, length));
    if (length < CHUNK) return position;
  }
}

/** Syncs a directory, so that names made in it survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

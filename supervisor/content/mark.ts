/**
 * How much of an ingest survives a power cut: a file `synced` beside its data says how many bytes were synced, and under
 * which boot of the machine. While the machine has not booted since, all of the data is as it was written, also after
 * the daemon was killed; after a boot what lies behind the mark may be anything, and is cut off.
 */

import { readFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "./disk.ts";

/** Where the kernel tells one boot from the next. */
const BOOT_ID = "/proc/sys/kernel/random/boot_id";
/** The mark has one length, so that a new one takes the place of the old in one sector. */
const OFFSET_DIGITS = 16;

let known: string | undefined;

/** What tells this boot of the machine from every other; empty where the kernel does not say. */
export function bootId(): string {
  if (known === undefined) {
    try {
      known = readFileSync(BOOT_ID, "utf8").trim();
    } catch {
      known = "";
    }
  }
  return known;
}

/** Notes that the first `offset` bytes of an ingest are synced. @param isSynced the note survives a power cut too */
export async function writeMark(path: string, offset: number, isSynced: boolean, boot = bootId()): Promise<void> {
  const file = await open(join(path, "synced"), "a").then(async (made) => {
    await made.close();
    return open(join(path, "synced"), "r+");
  });
  try {
    await file.write(
      Buffer.from(`${String(offset).padStart(OFFSET_DIGITS, "0")} ${boot.padEnd(36)}\n`),
      0,
      undefined,
      0,
    );
    if (isSynced) await file.datasync();
  } finally {
    await file.close();
  }
}

/**
 * How many of the `size` bytes of an ingest's data are surely those that were written. All where there is no mark: it
 * was made by a daemon that made none, and the digest tells in the end.
 */
export async function sureBytes(path: string, size: number, boot = bootId()): Promise<number> {
  let text: string;
  try {
    text = await readFile(join(path, "synced"), "latin1");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return size;
    throw error;
  }
  const [, offset = "0", before = ""] = /^(\d{16}) (\S*) *\n/.exec(text) ?? [];
  return boot !== "" && before === boot ? size : Math.min(size, Number(offset));
}

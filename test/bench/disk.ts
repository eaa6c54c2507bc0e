/**
 * Where the files of a benchmark lie: on a file system with a journal, as machines have it.
 *
 * ext4 without a journal passes over each inode that was freed in the last minute (five more while its block is dirty),
 * one by one, whenever it looks for a free one (recently_deleted in fs/ext4/ialloc.c). After 20,000 files were removed, the
 * next 20,000 then take the kernel up to 15 s of computing, whoever makes them: a benchmark that removes what it made measures
 * little else.
 */

import { existsSync, readdirSync, readlinkSync, statfsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { run } from "../lib/command.ts";
import { mountLoop, whyNoLoop } from "../lib/loop.ts";
import { processScope, type Scope } from "../lib/scope.ts";

const EXT4_MAGIC = 0xef53;
/** A sparse file: it takes up what is written. */
const SIZE = "24G";

/** A directory for all files of a benchmark. */
export interface BenchDisk {
  /** To be closed in the end, whereby the disk goes too. */
  readonly scope: Scope;
  readonly dir: string;
  /** For the report. */
  readonly description: string;
}

/** The directory of this process's scope, or a file system of its own in it where the machine's has no journal. */
export async function openDisk(): Promise<BenchDisk> {
  const scope = processScope();
  if (hasJournal(scope.dir)) return { scope, dir: scope.dir, description: `the file system of ${scope.dir}` };
  const why = whyNoLoop();
  if (why !== undefined) return { scope, dir: scope.dir, description: `ext4 without a journal (another: ${why})` };
  const [image, dir] = [join(scope.dir, "disk.img"), join(scope.dir, "disk")];
  await run(["truncate", "-s", SIZE, image], { check: true });
  await run(["mkfs.ext4", "-q", "-F", image], { check: true });
  // Tables of inodes are made when they are needed, and not in the midst of a measurement.
  await mountLoop(image, dir, "loop,noinit_itable");
  return { scope, dir, description: "ext4 in a file, for the machine's own has no journal" };
}

/** False for ext4 without a journal. */
function hasJournal(dir: string): boolean {
  if (statfsSync(dir).type !== EXT4_MAGIC) return true;
  const { dev } = statSync(dir);
  // makedev(3): twelve bits of the minor number lie above the major's.
  const [major, minor] = [(dev >> 8) & 0xfff, (dev & 0xff) | ((dev >>> 12) & 0xfff00)];
  const device = `/sys/dev/block/${major}:${minor}`;
  if (!existsSync(device) || !existsSync("/proc/fs/jbd2")) return false;
  return readdirSync("/proc/fs/jbd2").some((name) => name.startsWith(`${basename(readlinkSync(device))}-`));
}

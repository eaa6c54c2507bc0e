/** Memory of this process that the kernel can have back. */

import { readFile } from "./file.ts";
import { libc } from "./libc.ts";

const SYS_madvise = process.arch === "arm64" ? 233 : 28;
const MADV_DONTNEED = 4;

/**
 * The mappings of programs and libraries that {@link dropPages} may have: those that cannot be written to and hold no
 * page of our own. A page that was relocated after loading would be lost. Such mappings stay for the life of a process.
 * @throws ErrnoError
 */
export function programMappings(): Range[] {
  return cleanFileMappings(readFile("/proc/self/smaps", 64 << 20));
}

/**
 * Unmaps pages that this process has touched and may never touch again. They stay in the page cache, which all shims
 * share, and come back by a minor fault. @param ranges from {@link programMappings}
 */
export function dropPages(ranges: readonly Range[]): void {
  for (const { start, length } of ranges) libc.syscall(SYS_madvise, start, length, MADV_DONTNEED, 0, 0);
}

/** A range of addresses. */
export interface Range {
  readonly start: number;
  readonly length: number;
}

const header = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)/;

/** The read-only file mappings without private pages in the text of a smaps file. */
export function cleanFileMappings(smaps: string): Range[] {
  const found: Range[] = [];
  let current: Range | undefined;
  for (const line of smaps.split("\n")) {
    const parts = header.exec(line);
    if (parts !== null) {
      const [, start = "0", end = "0", access = "", inode] = parts;
      const from = Number.parseInt(start, 16);
      const isCandidate = inode !== "0" && !access.includes("w") && access.startsWith("r");
      current = isCandidate ? { start: from, length: Number.parseInt(end, 16) - from } : undefined;
    } else if (current !== undefined && line.startsWith("Anonymous:")) {
      if (/^Anonymous:\s+0 kB$/.test(line)) found.push(current);
      current = undefined;
    }
  }
  return found;
}

/** Extended headers of POSIX.1-2001 (pax): records that replace or complete what a header block says. */

import type { Bytes, Time } from "../../../shim/linux/index.ts";
import { ArchiveError, type Entry } from "./entry.ts";

const ATTRIBUTE = "SCHILY.xattr.";
const SPARSE_OFFSET = "GNU.sparse.offset";
const SPARSE_BYTES = "GNU.sparse.numbytes";
/** Where the pairs of sparse format 0.0, whose keys repeat, are collected as format 0.1 writes them. */
export const SPARSE_MAP = "GNU.sparse.map";

/**
 * The records of an extended header.
 * @throws ArchiveError when they are not "LENGTH KEY=VALUE\n" one after another
 */
export function parseRecords(bytes: Bytes): Map<Bytes, Bytes> {
  const records = new Map<Bytes, Bytes>();
  const map: Bytes[] = [];
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(" ", at);
    const digits = space < 0 || space - at > 10 ? "" : bytes.slice(at, space);
    const end = at + Number(digits);
    const equals = bytes.indexOf("=", space);
    const isWhole = /^[0-9]+$/.test(digits) && end <= bytes.length && bytes[end - 1] === "\n";
    if (!isWhole || equals <= space + 1 || equals >= end - 1)
      throw new ArchiveError("extended header with a bad record");
    const [key, value] = [bytes.slice(space + 1, equals), bytes.slice(equals + 1, end - 1)];
    const mayHoldNul = key.startsWith(ATTRIBUTE);
    if (key.includes("\0") || (!mayHoldNul && value.includes("\0"))) {
      throw new ArchiveError(`extended header with a NUL in ${JSON.stringify(key.slice(0, 80))}`);
    }
    if (key === SPARSE_OFFSET || key === SPARSE_BYTES) {
      if (map.length % 2 !== (key === SPARSE_OFFSET ? 0 : 1)) throw new ArchiveError("sparse map out of order");
      map.push(value);
    } else records.set(key, value);
    at = end;
  }
  if (map.length > 0) records.set(SPARSE_MAP, map.join(","));
  return records;
}

/**
 * Puts what the records say into the entry; an empty value takes a record back.
 * @throws ArchiveError for a number that is none
 */
export function mergeRecords(entry: Entry, records: ReadonlyMap<Bytes, Bytes>): void {
  const attributes = new Map<Bytes, Bytes>();
  for (const [key, value] of records) {
    if (key.startsWith(ATTRIBUTE)) {
      attributes.set(key.slice(ATTRIBUTE.length), value);
      continue;
    }
    if (value === "") continue;
    switch (key) {
      case "path":
        entry.name = value;
        break;
      case "linkpath":
        entry.target = value;
        break;
      case "size":
        entry.size = entry.stored = count(value, key);
        break;
      case "uid":
        entry.uid = count(value, key);
        break;
      case "gid":
        entry.gid = count(value, key);
        break;
      case "mtime":
        entry.modified = time(value, key);
        break;
      case "atime":
        entry.accessed = time(value, key);
        break;
    }
  }
  if (attributes.size > 0) entry.attributes = attributes;
}

/** A count in decimal digits. @throws ArchiveError */
export function count(value: Bytes, what: string): number {
  const number = /^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw new ArchiveError(`${what} ${JSON.stringify(value.slice(0, 40))}`);
  return number;
}

const timeText = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/;

/** Seconds since the epoch, with decimals. */
function time(value: Bytes, what: string): Time {
  const [, sign, whole = "", decimals = ""] = timeText.exec(value) ?? [];
  if (sign === undefined) throw new ArchiveError(`${what} ${JSON.stringify(value.slice(0, 40))}`);
  const [seconds, nanoseconds] = [Number(whole), Number(decimals.slice(0, 9).padEnd(9, "0"))];
  if (sign === "") return { seconds, nanoseconds };
  return nanoseconds === 0
    ? { seconds: -seconds, nanoseconds: 0 }
    : { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds };
}

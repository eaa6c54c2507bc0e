/**
 * A disk with a volatile write cache, as one file of a FUSE file system, so that a loop device can sit on it. What was
 * written since the last flush may be there after a power cut or not, in any combination, and a write may be torn.
 *
 * Usage: bun disk-server.ts DIRECTORY BYTES
 *
 * `disk` in the directory is the disk. Writing `MODE SEED PATH` to `control` cuts the power at that moment: what would be
 * on the disk is written to PATH, and the disk goes on. MODE: none (nothing of the cache), some (any part of it), order
 * (the oldest of it). Writing `lie` makes it a disk that forgets nine of ten flushes, as cheap ones do. One process that does nothing else, so that calls are synchronous.
 */

import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { mountAll } from "../../shim/linux/index.ts";
import { Random } from "../lib/random.ts";

const [directory = "", bytes = "0"] = process.argv.slice(2);
const size = Number(bytes);
/** What reads give: everything that was written. */
const current = Buffer.alloc(size);
/** What a power cut cannot take. */
const stable = Buffer.alloc(size);
interface Write {
  readonly at: number;
  readonly data: Buffer;
}
let cache: Write[] = [];
/** Where the chance of a lie comes from; undefined on an honest disk. */
let lies: Random | undefined;
const counts = { writes: 0, flushes: 0, cuts: 0 };

const SECTOR = 512;
const MAX_WRITE = 1 << 20;
const nodes = { root: 1n, disk: 2n, control: 3n } as const;
const errno = { noent: 2, nosys: 38, inval: 22 } as const;

const fuse = openSync("/dev/fuse", "r+");
mountAll(
  [
    {
      type: "fuse",
      source: "berth-disk",
      target: "",
      options: [`fd=${fuse}`, "rootmode=40000", "user_id=0", "group_id=0", "nosuid", "nodev"],
    },
  ],
  directory,
);
const request = Buffer.alloc(MAX_WRITE + 4096);
for (;;) {
  let length: number;
  try {
    length = readSync(fuse, request);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENODEV") break; // unmounted
    if (code === "EINTR" || code === "EAGAIN" || code === "ENOENT") continue;
    throw error;
  }
  if (length > 0) serve(request.subarray(0, length));
}

/** Answers a request; the answer goes out before this returns. */
function serve(message: Buffer): undefined {
  const [opcode, unique, node] = [message.readUInt32LE(4), message.readBigUInt64LE(8), message.readBigUInt64LE(16)];
  const body = message.subarray(40);
  const ok: Ok = (...parts) => reply(unique, 0, parts);
  const fail: Fail = (error) => reply(unique, error, []);
  switch (opcode) {
    case 1: // LOOKUP
      return lookup(body.toString("utf8", 0, body.indexOf(0)), ok, fail);
    case 2: // FORGET
    case 36: // INTERRUPT
    case 42: // BATCH_FORGET
      return;
    case 3: // GETATTR
    case 4: // SETATTR
      return ok(Buffer.alloc(16), attributes(node));
    case 14: // OPEN
    case 27: // OPENDIR
      return ok(Buffer.alloc(16));
    case 15: {
      // READ
      const [at, count] = [Number(body.readBigUInt64LE(8)), body.readUInt32LE(16)];
      return ok(node === nodes.disk ? current.subarray(at, Math.min(size, at + count)) : Buffer.alloc(0));
    }
    case 16: {
      // WRITE
      const [at, count] = [Number(body.readBigUInt64LE(8)), body.readUInt32LE(16)];
      const data = Buffer.from(body.subarray(40, 40 + count));
      if (node === nodes.control && data.toString() === "lie") lies = new Random(1);
      else if (node === nodes.control) cut(data.toString());
      else write(at, data);
      const answer = Buffer.alloc(8);
      answer.writeUInt32LE(count, 0);
      return ok(answer);
    }
    case 17: // STATFS
      return ok(Buffer.alloc(80));
    case 20: // FSYNC
      if (node === nodes.disk) flush();
      return ok();
    case 18: // RELEASE
    case 25: // FLUSH
    case 29: // RELEASEDIR
    case 38: // DESTROY
      return ok();
    case 26: {
      // INIT
      const answer = Buffer.alloc(64);
      answer.writeUInt32LE(7, 0);
      answer.writeUInt32LE(31, 4);
      answer.writeUInt32LE(body.readUInt32LE(8), 8);
      // Big writes, and as many pages as are asked for.
      answer.writeUInt32LE((1 << 5) | (1 << 22), 12);
      answer.writeUInt16LE(16, 16);
      answer.writeUInt16LE(12, 18);
      answer.writeUInt32LE(MAX_WRITE, 20);
      answer.writeUInt32LE(1, 24);
      answer.writeUInt16LE(MAX_WRITE / 4096, 28);
      return ok(answer);
    }
    default:
      return fail(errno.nosys);
  }
}

type Ok = (...parts: Buffer[]) => undefined;
type Fail = (error: number) => undefined;

function lookup(name: string, ok: Ok, fail: Fail): undefined {
  if (name !== "disk" && name !== "control") return fail(errno.noent);
  const entry = Buffer.alloc(40);
  entry.writeBigUInt64LE(nodes[name], 0);
  // Names stay as they are.
  entry.writeBigUInt64LE(3600n, 16);
  return ok(entry, attributes(nodes[name]));
}

function attributes(node: bigint): Buffer {
  const attr = Buffer.alloc(88);
  attr.writeBigUInt64LE(node, 0);
  attr.writeBigUInt64LE(node === nodes.disk ? BigInt(size) : 0n, 8);
  attr.writeUInt32LE(node === nodes.root ? 0o40755 : 0o100600, 60);
  attr.writeUInt32LE(1, 64);
  attr.writeUInt32LE(4096, 80);
  return attr;
}

function reply(unique: bigint, error: number, parts: readonly Buffer[]): undefined {
  const head = Buffer.alloc(16);
  const all = Buffer.concat([head, ...parts]);
  all.writeUInt32LE(all.length, 0);
  all.writeInt32LE(-error, 4);
  all.writeBigUInt64LE(unique, 8);
  try {
    writeSync(fuse, all);
  } catch (failure) {
    // ENOENT: who asked has gone.
    if ((failure as NodeJS.ErrnoException).code !== "ENOENT") throw failure;
  }
}

function write(at: number, data: Buffer): void {
  counts.writes++;
  data.copy(current, at);
  cache.push({ at, data });
}

function flush(): void {
  counts.flushes++;
  if (lies !== undefined && lies.next() < 0.9) return;
  for (const { at, data } of cache) data.copy(stable, at);
  cache = [];
}

/** Writes what a disk would have that loses its power now. */
function cut(command: string): void {
  const [mode = "", seed = "", path = ""] = command.trim().split(" ");
  counts.cuts++;
  const random = new Random(Number(seed));
  const image = Buffer.from(stable);
  const kept = mode === "none" ? [] : mode === "order" ? cache.slice(0, random.between(0, cache.length + 1)) : cache;
  for (const [index, { at, data }] of kept.entries()) {
    if (mode === "some" && random.next() < 0.5) continue;
    // The last one, or one in eight, is torn: some of its sectors were written.
    const torn = mode === "order" ? index === kept.length - 1 : random.next() < 0.125;
    for (let from = 0; from < data.length; from += SECTOR) {
      if (torn && random.next() < 0.5) continue;
      data.copy(image, at + from, from, Math.min(data.length, from + SECTOR));
    }
  }
  const file = openSync(path, "w");
  const zero = Buffer.alloc(1 << 16);
  for (let at = 0; at < size; at += zero.length) {
    const block = image.subarray(at, at + zero.length);
    if (!block.equals(zero.subarray(0, block.length))) writeSync(file, block, 0, block.length, at);
  }
  // As long as the disk, even where its end is empty.
  writeSync(file, image, size - 1, 1, size - 1);
  closeSync(file);
  console.log(JSON.stringify({ ...counts, cached: cache.length, kept: kept.length, mode }));
}

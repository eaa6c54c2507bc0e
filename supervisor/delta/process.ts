/** `berth layer patch`: makes a layer of old ones and a patch, in a process of its own whose memory goes with it. */

import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import {
  dieWithParent,
  forbidNewPrivileges,
  keepCapabilities,
  limitResource,
  O,
  open,
  Resource,
  readAll,
  readInto,
  readRange,
  statusOfFile,
  writeRange,
} from "../../shim/linux/index.ts";
import { answer } from "../diff/answer.ts";
import { detectCompression } from "../diff/compression.ts";
import { LayerInput } from "../diff/input.ts";
import { defaultLimits } from "../diff/limits.ts";
import { applyPatch, readHeader } from "./patch/apply.ts";
import { type Base, outside, type ReadNext, WindowBase } from "./patch/base.ts";
import { PatchError } from "./patch/error.ts";
import { Compressor } from "./recipe.ts";
import type { BaseFile, Patched, PatchRequest } from "./request.ts";

const MAX_REQUEST = 4 << 20;
const OUTPUT_BYTES = 128 << 10;
/** A patch that goes back no further needs no file of its own. */
const MAX_REACH = 32 << 20;

/** Reads the request from standard input, writes the layer to standard output and the answer to standard error. */
export function patch(): Promise<number> {
  return answer(
    () => patchLayer(JSON.parse(new TextDecoder().decode(readAll(0, MAX_REQUEST))) as PatchRequest),
    Bun.stderr,
  );
}

function patchLayer(request: PatchRequest): Patched {
  dieWithParent(request.parent);
  forbidNewPrivileges();
  limitResource(Resource.CORE, 0);
  const file = open(request.patch, O.RDONLY);
  const read = (length: number): Buffer => {
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const count = readInto(file, bytes.subarray(done));
      if (count === 0) throw new PatchError("the patch is cut off");
      done += count;
    }
    return bytes;
  };
  const header = readHeader(read);
  const old = request.bases.reduce((sum, { bytes }) => sum + bytes, 0);
  if (header.oldSize !== old || header.newSize !== request.bytes) {
    const told = `${old} bytes to ${request.bytes}`;
    throw new PatchError(`the patch leads from ${header.oldSize} bytes to ${header.newSize}, and should from ${told}`);
  }
  const base = baseOf(request, header.reach);
  keepCapabilities([]);
  const hash = new Bun.CryptoHasher("sha256");
  const output = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
  let filled = 0;
  const flush = (): void => {
    if (filled > 0) writeRange(1, output, 0, filled);
    filled = 0;
  };
  const compressor = new Compressor(request.recipe, (bytes) => {
    for (let at = 0; at < bytes.length; ) {
      const count = bytes.copy(output, filled, at);
      at += count;
      filled += count;
      if (filled === OUTPUT_BYTES) flush();
    }
  });
  applyPatch(header, read, base, (bytes) => {
    hash.update(bytes);
    compressor.write(bytes);
  });
  const digest = `sha256:${hash.digest("hex")}`;
  if (digest !== request.diffId) throw new PatchError(`the patch made ${digest} and not ${request.diffId}`);
  compressor.end();
  flush();
  return { digest };
}

function baseOf({ bases, temporary }: PatchRequest, reach: number): Base {
  const size = bases.reduce((sum, { bytes }) => sum + bytes, 0);
  const plain = bases.map(plainFile);
  if (plain.every((fd) => fd !== undefined)) return new PlainBase(bases, plain);
  const next = oneAfterAnother(bases);
  return reach <= MAX_REACH ? new WindowBase(next, size, reach) : new FileBase(next, size, temporary);
}

/** The descriptor of a layer that is not compressed. @throws PatchError when it has not the size that it should */
function plainFile({ path, bytes }: BaseFile): number | undefined {
  const fd = open(path, O.RDONLY);
  const head = Buffer.alloc(4);
  if (detectCompression(head.subarray(0, readRange(fd, head, 0, 4, 0))) === "none") {
    const { size } = statusOfFile(fd);
    if (size === bytes) return fd;
    throw new PatchError(`an old layer has ${size} bytes and not ${bytes}`);
  }
  closeSync(fd);
  return undefined;
}

/** The bytes of layers, uncompressed. */
function oneAfterAnother(bases: readonly BaseFile[]): ReadNext {
  let index = 0;
  let input: LayerInput | undefined;
  return (into, from, to) => {
    for (;;) {
      const base = bases[index];
      if (base === undefined) return 0;
      input ??= new LayerInput(base.path, "detect", { ...defaultLimits, bytes: base.bytes });
      const count = input.read(into, from, to);
      if (count > 0) return count;
      if (input.size !== base.bytes) throw new PatchError(`an old layer has ${input.size} bytes and not ${base.bytes}`);
      input = undefined;
      index++;
    }
  };
}

/** Layers that are not compressed, read where they are. */
class PlainBase implements Base {
  readonly size: number;
  readonly #parts: { readonly fd: number; readonly start: number; readonly end: number }[] = [];

  constructor(bases: readonly BaseFile[], files: readonly number[]) {
    let start = 0;
    for (const [index, { bytes }] of bases.entries()) {
      this.#parts.push({ fd: files[index] ?? -1, start, end: start + bytes });
      start += bytes;
    }
    this.size = start;
  }

  read(offset: number, into: Buffer): void {
    if (offset < 0 || offset + into.length > this.size) throw outside(offset, into.length, this.size);
    for (const { fd, start, end } of this.#parts) {
      const from = Math.max(offset, start);
      const to = Math.min(offset + into.length, end);
      if (from < to) readExactly(fd, into.subarray(from - offset, to - offset), from - start);
    }
  }
}

/** Layers that were written into a file without a name, because the patch goes far back in them. */
class FileBase implements Base {
  readonly size: number;
  readonly #fd: number;

  constructor(next: ReadNext, size: number, directory: string) {
    const path = join(directory, `patch-${process.pid}`);
    this.#fd = openSync(path, "wx+", 0o600);
    unlinkSync(path);
    const buffer = Buffer.allocUnsafeSlow(1 << 20);
    let at = 0;
    for (let count = next(buffer, 0, buffer.length); count > 0; count = next(buffer, 0, buffer.length)) {
      for (let done = 0; done < count; ) done += writeSync(this.#fd, buffer, done, count - done, at + done);
      at += count;
    }
    this.size = size;
  }

  read(offset: number, into: Buffer): void {
    if (offset < 0 || offset + into.length > this.size) throw outside(offset, into.length, this.size);
    readExactly(this.#fd, into, offset);
  }
}

function readExactly(fd: number, into: Buffer, offset: number): void {
  for (let done = 0; done < into.length; ) {
    const count = readSync(fd, into, done, into.length - done, offset + done);
    if (count === 0) throw new PatchError("the old layers end too early");
    done += count;
  }
}

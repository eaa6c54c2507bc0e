/** Makes the patch of one layer: finds the old layers that are most like it, and how it was compressed. */

import { closeSync, openSync, readSync, statSync, writeSync } from "node:fs";
import type { OldLayer } from "../document.ts";
import { cut, type RandomBytes } from "../patch/chunker.ts";
import { HEADER_BYTES } from "../patch/layout.ts";
import { makePatch } from "../patch/make.ts";
import { ChunkTable } from "../patch/table.ts";
import { Compressor, type Recipe, recipesFor } from "../recipe.ts";
import { Files, type Unpacked, type WorkDirectory } from "./work.ts";

/** A layer of the old image, uncompressed in a file. */
export interface OldFile extends OldLayer {
  readonly path: string;
}

/** A patch in a file. */
export interface LayerPatch {
  readonly path: string;
  readonly size: number;
  readonly digest: string;
  readonly bases: readonly OldFile[];
}

/** Of several old layers, those are patched that this part of the new one is in, at least; and so many of them. */
const LEAST_PART = 0.01;
const MAX_BASES = 8;
/** Bytes of a layer by which it is tried out how it was compressed. */
const TRIAL_BYTES = 1 << 20;
const READ_BYTES = 1 << 20;

/** Writes the patch that makes a layer of old ones. */
export function patchOf(work: WorkDirectory, olds: readonly OldFile[], fresh: Unpacked): LayerPatch {
  const bases = olds.length > 1 ? likest(olds, fresh) : olds;
  const old = new Files(bases.map(({ path }) => path));
  const target = new Files([fresh.path]);
  const path = work.fresh();
  const file = openSync(path, "wx+", 0o600);
  try {
    let at = HEADER_BYTES;
    const { header } = makePatch(old, target, (bytes) => {
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, at + done);
      at += bytes.length;
    });
    writeSync(file, header, 0, header.length, 0);
    return { path, size: at, digest: digestOfFile(path), bases };
  } finally {
    closeSync(file);
    old.close();
    target.close();
  }
}

/** The old layers that have most of the new one's chunks, in their order. */
function likest(olds: readonly OldFile[], fresh: Unpacked): readonly OldFile[] {
  const all = new Files(olds.map(({ path }) => path));
  const target = new Files([fresh.path]);
  try {
    const table = new ChunkTable(all);
    const found = olds.map(() => 0);
    const ends: number[] = [];
    for (const { bytes } of olds) ends.push((ends.at(-1) ?? 0) + bytes);
    cut(target, table.mask, (_, chunk) => {
      const offset = table.find(chunk);
      if (offset === undefined) return;
      const index = ends.findIndex((end) => offset < end);
      if (index >= 0) found[index] = (found[index] ?? 0) + chunk.length;
    });
    const ranked = olds.map((old, index) => ({ old, index, bytes: found[index] ?? 0 }));
    ranked.sort((a, b) => b.bytes - a.bytes);
    const chosen = ranked
      .filter(({ bytes }, rank) => rank === 0 || bytes >= LEAST_PART * fresh.bytes)
      .slice(0, MAX_BASES);
    return chosen.sort((a, b) => a.index - b.index).map(({ old }) => old);
  } finally {
    all.close();
    target.close();
  }
}

/** The digest of a file. */
export function digestOfFile(path: string): string {
  const hash = new Bun.CryptoHasher("sha256");
  readFile(path, statSync(path).size, (bytes) => hash.update(bytes));
  return `sha256:${hash.digest("hex")}`;
}

/** How a layer was compressed; undefined when that cannot be done again here. */
export function recipeOf(blob: { readonly path: string; readonly digest: string }, tar: Unpacked): Recipe | undefined {
  if (blob.digest === tar.diffId) return { kind: "none" };
  const compressed = new Files([blob.path]);
  try {
    const head = Buffer.alloc(Math.min(64 << 10, compressed.size));
    compressed.read(0, head);
    if (head.length < 18) return undefined;
    const likely = recipesFor(head).find((recipe) => recipe.kind !== "none" && beginsLike(recipe, tar, compressed));
    return likely && compressedDigest(likely, tar) === blob.digest ? likely : undefined;
  } finally {
    compressed.close();
  }
}

class Different extends Error {}

/** True when the beginning of a layer, compressed so, is the beginning of the blob. */
function beginsLike(recipe: Recipe, tar: Unpacked, blob: RandomBytes): boolean {
  let at = 0;
  try {
    const compressor = new Compressor(recipe, (bytes) => {
      if (at + bytes.length > blob.size) throw new Different();
      const own = Buffer.allocUnsafe(bytes.length);
      blob.read(at, own);
      if (!own.equals(bytes)) throw new Different();
      at += bytes.length;
    });
    readFile(tar.path, Math.min(TRIAL_BYTES, tar.bytes), (bytes) => compressor.write(bytes));
    if (tar.bytes <= TRIAL_BYTES) compressor.end();
    return true;
  } catch (error) {
    if (error instanceof Different) return false;
    throw error;
  }
}

function compressedDigest(recipe: Recipe, tar: Unpacked): string {
  const hash = new Bun.CryptoHasher("sha256");
  const compressor = new Compressor(recipe, (bytes) => hash.update(bytes));
  readFile(tar.path, tar.bytes, (bytes) => compressor.write(bytes));
  compressor.end();
  return `sha256:${hash.digest("hex")}`;
}

/** Reads the beginning of a file, piece by piece; a piece is valid during the call. */
function readFile(path: string, length: number, take: (bytes: Buffer) => void): void {
  const file = openSync(path, "r");
  try {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    for (let done = 0; done < length; ) {
      const count = readSync(file, buffer, 0, Math.min(buffer.length, length - done), done);
      if (count === 0) return;
      take(buffer.subarray(0, count));
      done += count;
    }
  } finally {
    closeSync(file);
  }
}

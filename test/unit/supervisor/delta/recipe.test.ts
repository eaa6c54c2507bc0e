/** R29: layers are compressed again as they were, byte for byte, where their compressor is known. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { recipeOf } from "../../../../supervisor/delta/make/layer.ts";
import { WorkDirectory } from "../../../../supervisor/delta/make/work.ts";
import { Compressor, parseRecipe, type Recipe } from "../../../../supervisor/delta/recipe.ts";
import { Deflater } from "../../../../supervisor/diff/deflate.ts";
import { Random } from "../../../lib/random.ts";

setDefaultTimeout(60_000);
const random = new Random(3);
const words = Array.from({ length: 500 }, () => Buffer.from(random.bytes(6)).toString("hex"));
const text = Buffer.from(Array.from({ length: 250_000 }, () => random.of(words)).join(" "));
let dir = "";
let work: WorkDirectory;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "berth-recipe-"));
  work = new WorkDirectory(dir);
});
afterAll(() => {
  work.remove();
  rmSync(dir, { recursive: true, force: true });
});

/** The recipe of a blob of the text. */
function found(blob: Uint8Array): Recipe | undefined {
  const path = work.fresh();
  writeFileSync(path, blob);
  const digest = `sha256:${new Bun.CryptoHasher("sha256").update(blob).digest("hex")}`;
  return recipeOf({ path, digest }, work.unpack(path));
}

/** What berth makes of a tree that is committed: pieces of any length. */
function deflated(kind: "gzip" | "zstd"): Buffer {
  const parts: Buffer[] = [];
  const deflater = new Deflater(kind, (buffer, from, to) => parts.push(Buffer.from(buffer.subarray(from, to))));
  for (let at = 0; at < text.length; ) {
    const to = Math.min(text.length, at + random.between(1, 200_000));
    deflater.write(text, at, to);
    at = to;
  }
  deflater.end();
  return Buffer.concat(parts);
}

test("R29: layers that berth has made are made again", () => {
  expect(found(deflated("gzip"))).toMatchObject({ kind: "gzip", level: 6, memory: 8 });
  expect(found(deflated("zstd"))).toMatchObject({ kind: "zstd", level: 3 });
  expect(found(text)).toEqual({ kind: "none" });
});

test("R29: zlib's other levels are found, and its header is kept", () => {
  const blob = Buffer.from(gzipSync(text, { level: 9 }));
  // A name and a time, as gzip writes them.
  const named = Buffer.concat([blob.subarray(0, 10), Buffer.from("layer.tar\0"), blob.subarray(10)]);
  named.writeUInt8(8, 3);
  named.writeUInt32LE(1_700_000_000, 4);
  const recipe = found(named);
  expect(recipe).toMatchObject({ kind: "gzip", level: 9 });
  const parts: Buffer[] = [];
  const compressor = new Compressor(recipe as Recipe, (part) => parts.push(Buffer.from(part)));
  compressor.write(text);
  compressor.end();
  expect(Buffer.concat(parts).equals(named)).toBe(true);
});

test("R29: another program's compression is told to be unknown", () => {
  const foreign = Bun.spawnSync(["gzip", "-nc"], { stdin: text }).stdout;
  expect(found(foreign)).toBeUndefined();
  // Several members are one stream to readers, and none that is made here.
  expect(found(Buffer.concat([gzipSync(text.subarray(0, 100_000)), gzipSync(text.subarray(100_000))]))).toBeUndefined();
});

test("a recipe that is none is refused", () => {
  for (const wrong of [
    undefined,
    {},
    { kind: "xz" },
    { kind: "zstd", level: 99 },
    { kind: "gzip", level: 6, memory: 8 },
  ]) {
    expect(() => parseRecipe(wrong, "layer 1")).toThrow("layer 1 has no compression that is known here");
  }
});

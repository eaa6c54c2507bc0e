/**
 * Broken archives against the reader of layers, and random hostile layers against the process that applies them.
 * `BERTH_FUZZ_SEED=N` repeats a run, `BERTH_FUZZ_INPUTS=N` changes its length.
 */

import { expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { ContainerdError } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { LAYER_TAR } from "../../supervisor/diff/compression.ts";
import { Diff } from "../../supervisor/diff/diff.ts";
import { CompressionError, Inflater } from "../../supervisor/diff/inflate.ts";
import { ArchiveError } from "../../supervisor/diff/tar/entry.ts";
import { TarReader } from "../../supervisor/diff/tar/reader.ts";
import { archive, entry, long, pax } from "../lib/archive.ts";
import { chooseSeed, fullInputs, Random } from "./ttrpc-random.ts";

const inputs = Math.ceil(fullInputs() / 10);

/** A right archive of every feature. */
const whole = archive(
  entry({ name: "d/", type: "5" }),
  pax({ path: "p".repeat(300), mtime: "1.5", "SCHILY.xattr.user.a": "b" }),
  entry({ name: "f", body: "x".repeat(700) }),
  long("L", "n".repeat(200)),
  long("K", "t".repeat(200)),
  entry({ name: "l", type: "2", format: "gnu" }),
  pax({ "GNU.sparse.size": "5000", "GNU.sparse.map": "1024,4,4000,3" }),
  entry({ name: "s", body: "abcdefg" }),
  pax({ "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5000" }),
  entry({ name: "s", body: "1\n0\n4\n".padEnd(512, "\0").concat("abcd") }),
  pax({ comment: "global" }, true),
  entry({ name: "c", type: "3", major: 1, minor: 3, uid: 5_000_000 }),
);

/** Makes the checksums of all blocks right again that look like headers, so that what is wrong lies deeper. */
function repair(bytes: Buffer): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    if (bytes.toString("latin1", at + 257, at + 262) !== "ustar") continue;
    bytes.fill(0x20, at + 148, at + 156);
    const sum = bytes.subarray(at, at + 512).reduce((a, b) => a + b, 0);
    bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, at + 148, "latin1");
  }
}

function mutated(random: Random, bytes: Uint8Array): Buffer {
  const result = Buffer.from(bytes);
  for (let i = 1 + random.below(4); i > 0; i--) {
    const at = random.below(result.length);
    if (random.oneIn(3))
      result.write(random.pick(["9", " ", "-", "\0", "\x80", "\xff", "7777777", "x", "S", "L"]), at, "latin1");
    else result[at] = random.below(256);
  }
  return random.oneIn(5) ? result.subarray(0, random.below(result.length)) : result;
}

test("the reader reads every archive to its end, or says what is wrong with it", () => {
  const random = new Random(chooseSeed("tar"));
  let refused = 0;
  for (let i = 0; i < inputs; i++) {
    const bytes = mutated(random, whole);
    if (!random.oneIn(4)) repair(bytes);
    const step = 1 + random.below(2000);
    let at = 0;
    const reader = new TarReader((buffer, from, to) => {
      const count = Math.min(step, to - from, bytes.length - at);
      buffer.set(bytes.subarray(at, at + count), from);
      at += count;
      return count;
    });
    try {
      let stored = 0;
      for (let next = reader.next(); next !== undefined; next = reader.next()) {
        expect(next.size).toBeGreaterThanOrEqual(0);
        expect(next.name).not.toContain("\0");
        if (next.type !== "file") continue;
        for (const { offset, length } of next.segments ?? []) expect(offset + length).toBeLessThanOrEqual(next.size);
        reader.content((_, from, to) => {
          stored += to - from;
        });
      }
      expect(stored).toBeLessThanOrEqual(bytes.length);
    } catch (error) {
      if (!(error instanceof ArchiveError)) throw error;
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(inputs / 4);
}, 600_000);

test("what is broken in a compressed stream is refused, or it has the right bytes", () => {
  const random = new Random(chooseSeed("inflate"));
  const output = Buffer.alloc(4096);
  for (const [way, packed] of [
    ["gzip", gzipSync(whole)],
    ["zstd", zstdCompressSync(whole)],
  ] as const) {
    for (let i = 0; i < inputs / 20; i++) {
      const bytes = random.oneIn(2) ? packed.subarray(0, random.below(packed.length)) : mutated(random, packed);
      let at = 0;
      const inflater = new Inflater(way, (into) => {
        const count = Math.min(1 + random.below(200), into.length, bytes.length - at);
        into.set(bytes.subarray(at, at + count));
        at += count;
        return count;
      });
      let total = 0;
      try {
        for (let count = -1; count !== 0; total += count) {
          count = inflater.read(output, 0, output.length);
          expect(total).toBeLessThan(64 << 20);
        }
        // A stream that was only cut is never taken for whole.
        if (bytes.length < packed.length && packed.subarray(0, bytes.length).equals(bytes))
          expect([0, total]).toContain(bytes.length);
      } catch (error) {
        if (!(error instanceof CompressionError)) throw error;
      }
    }
  }
}, 600_000);

const parts = ["a", "b", "l", "..", ".", "", "/", "../..", ".wh.a", ".wh.l", ".wh..wh..opq", "\xff", "c"] as const;

function hostile(random: Random, outside: string): Buffer {
  const path = (): string => Array.from({ length: 1 + random.below(4) }, () => random.pick(parts)).join("/");
  const target = (): string =>
    random.pick([
      path(),
      `/${path()}`,
      outside,
      `${"../".repeat(12)}${outside.slice(1)}`,
      "/proc/self/root",
      "/proc/self/fd/5",
    ]);
  const entries = Array.from({ length: 1 + random.below(40) }, () => {
    const type = random.pick(["0", "0", "0", "2", "2", "5", "5", "6", "3"]);
    // A file where others have a directory ends a layer: mostly they have names of their own.
    const isLeaf = type !== "5" && type !== "2" && !random.oneIn(20);
    const name = isLeaf ? `${path()}/${random.pick(["victim", "f", ".wh.victim"])}` : path();
    const fields = { name, type, mode: random.below(0o10000), uid: random.below(5), mtime: random.u32() };
    if (type === "2") return Buffer.concat([pax({ linkpath: target() }), entry(fields)]);
    return entry(type === "0" ? { ...fields, body: "evil" } : fields);
  });
  return archive(...entries);
}

test.skipIf(process.getuid?.() !== 0)(
  "no random layer changes anything outside its root",
  async () => {
    const random = new Random(chooseSeed("layer"));
    const directory = mkdtempSync(join(tmpdir(), "berth-fuzz-"));
    const outside = join(directory, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "victim"), "safe");
    const diff = new Diff({ mountPoint: join(directory, "mount") });
    const before = lstatSync(join(outside, "victim"));
    let applied = 0;
    try {
      for (let i = 0; i < Math.max(20, inputs / 500); i++) {
        const [upper, lower, work] = ["upper", "lower", "work"].map((name) => join(directory, `${i}`, name)) as [
          string,
          string,
          string,
        ];
        for (const path of [upper, lower, work]) mkdirSync(path, { recursive: true });
        const mount = random.oneIn(2)
          ? { type: "bind", source: upper, target: "", options: ["rbind", "rw"] }
          : {
              type: "overlay",
              source: "overlay",
              target: "",
              options: [`workdir=${work}`, `upperdir=${upper}`, `lowerdir=${lower}`],
            };
        // One after another, as clients retry: the second meets what the first has left.
        for (let j = 0; j < 3; j++) {
          const blobPath = join(directory, "blob");
          const bytes = hostile(random, outside);
          writeFileSync(blobPath, bytes);
          try {
            await diff.apply({ mediaType: LAYER_TAR, digest: "", size: bytes.length }, [mount], { blobPath });
            applied++;
          } catch (error) {
            expect(error).toBeInstanceOf(ContainerdError);
            // Whatever the kernel refused is told by the call that it refused.
            if ((error as ContainerdError).code === Code.Unknown)
              expect((error as Error).message).toMatch(/^[a-z0-9]+ /);
          }
          expect(readdirSync(outside)).toEqual(["victim"]);
          expect(readFileSync(join(outside, "victim"), "utf8")).toBe("safe");
          const { mode, uid, mtimeMs, nlink } = lstatSync(join(outside, "victim"));
          expect({ mode, uid, mtimeMs, nlink }).toEqual({
            mode: before.mode,
            uid: before.uid,
            mtimeMs: before.mtimeMs,
            nlink: 1,
          });
        }
        rmSync(join(directory, `${i}`), { recursive: true, force: true });
      }
      console.log(`layers: ${applied} applied to their end`);
      expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(directory);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
  600_000,
);

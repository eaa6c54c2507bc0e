/** Layers from pairs of trees: what is in them, that both ways to find it agree, and that applying them gives the tree. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { alreadyExists, ContainerdError } from "../../../../proto/errdefs.ts";
import { Code } from "../../../../proto/ttrpc/status.ts";
import type { Mount } from "../../../../shim/linux/index.ts";
import type { CompareOptions, LayerBlob } from "../../../../supervisor/diff/diff.ts";
import { TarReader } from "../../../../supervisor/diff/tar/reader.ts";
import { archive, entry, pax } from "../../../lib/archive.ts";
import { outcome } from "../../../lib/outcome.ts";
import { Place, skipped } from "./fixture.ts";

const tarType = "application/vnd.oci.image.layer.v1.tar";
const sha256 = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A blob in memory. */
class Blob implements LayerBlob {
  bytes = Buffer.alloc(0);
  labels: Readonly<Record<string, string>> | undefined;
  closed = false;
  fails: Error | undefined;

  get offset(): number {
    return this.bytes.length;
  }
  digest(): string {
    return sha256(this.bytes);
  }
  async write(bytes: Uint8Array): Promise<void> {
    if (this.fails) throw this.fails;
    this.bytes = Buffer.concat([this.bytes, bytes]);
  }
  async truncate(): Promise<void> {
    this.bytes = Buffer.alloc(0);
  }
  async commit(options?: { labels?: Readonly<Record<string, string>> }): Promise<void> {
    this.labels = options?.labels;
    if (this.fails) throw this.fails;
  }
  async close(): Promise<void> {
    this.closed = true;
  }
}

let place: Place;
let count = 0;
const fresh = (): string => `c${count++}`;

beforeAll(() => {
  place = new Place();
});
afterAll(() => place[Symbol.dispose]());

async function compare(
  lower: readonly Mount[],
  upper: readonly Mount[],
  options: Partial<CompareOptions> = {},
): Promise<{ blob: Blob; tar: Buffer }> {
  const blob = new Blob();
  const all = { mediaType: tarType, labels: {}, open: async () => blob, ...options };
  const made = await place.diff.compare(lower, upper, all);
  expect(made).toEqual({ mediaType: all.mediaType || `${tarType}+gzip`, digest: blob.digest(), size: blob.offset });
  return { blob, tar: blob.bytes };
}

/** Each entry in few words. */
function list(tar: Buffer): string[] {
  let at = 0;
  const reader = new TarReader((buffer, from, to) => {
    const copied = tar.copy(buffer, from, at, at + to - from);
    at += copied;
    return copied;
  });
  const found: string[] = [];
  for (let next = reader.next(); next !== undefined; next = reader.next()) {
    found.push(`${next.type[0]} ${next.name}${next.target === "" ? "" : ` -> ${next.target}`}`);
  }
  return found;
}

const view = (...directories: string[]): Mount[] => {
  const paths = directories.map((directory) => place.make(directory));
  if (paths.length === 1) return [{ type: "bind", source: paths[0] ?? "", target: "", options: ["ro", "rbind"] }];
  return [{ type: "overlay", source: "overlay", target: "", options: [`lowerdir=${paths.join(":")}`] }];
};

const base = archive(
  entry({ name: "etc/", type: "5", mode: 0o755, mtime: 1 }),
  ...[
    entry({ name: "etc/passwd", body: "root\n", mtime: 1000 }),
    entry({ name: "etc/group", body: "root\n", mtime: 1000 }),
  ],
  ...[entry({ name: "usr/", type: "5", mode: 0o755 }), entry({ name: "usr/bin/", type: "5", mode: 0o755 })],
  ...[
    entry({ name: "usr/bin/a", body: "a", mode: 0o755 }),
    entry({ name: "usr/bin/b", type: "1", target: "usr/bin/a", mode: 0o755 }),
  ],
  ...[
    entry({ name: "usr/lib/", type: "5", mode: 0o755 }),
    entry({ name: "usr/lib/x", body: "x" }),
    entry({ name: "usr/lib/y", body: "y" }),
  ],
  ...[
    entry({ name: "link", type: "2", target: "usr" }),
    entry({ name: "dir", body: "a file" }),
    entry({ name: "file/", type: "5" }),
  ],
  ...[entry({ name: "file/inner", body: "i" }), entry({ name: "same-size", body: "1234", mtime: 5 })],
);

const changes = archive(
  ...[entry({ name: "etc/passwd", body: "root\nuser\n", mtime: 2000 }), entry({ name: "etc/.wh.group" })],
  ...[entry({ name: "usr/lib/.wh..wh..opq" }), entry({ name: "usr/lib/new", body: "n" })],
  ...[entry({ name: "dir/", type: "5", mode: 0o755 }), entry({ name: "dir/deep/er/f", body: "f" })],
  ...[entry({ name: "file", body: "now a file" }), entry({ name: "link", type: "2", target: "etc" })],
  entry({ name: "same-size", body: "4321", mtime: 5 }),
  pax({ "SCHILY.xattr.user.note": "n\0" }),
  ...[entry({ name: "noted", body: "x", mtime: 10 }), entry({ name: "again", type: "1", target: "noted", mtime: 10 })],
  ...[
    entry({ name: "fifo", type: "6", mode: 0o600 }),
    entry({ name: "null", type: "3", major: 1, minor: 3, mode: 0o666 }),
  ],
);

const expected = [
  ...[
    "f again",
    "d dir/",
    "d dir/deep/",
    "d dir/deep/er/",
    "f dir/deep/er/f",
    "d etc/",
    "f etc/.wh.group",
    "f etc/passwd",
  ],
  ...["f fifo", "f file", "s link -> etc", "l noted -> again", "c null", "f same-size", "d usr/", "d usr/lib/"],
  ...["f usr/lib/new", "f usr/lib/.wh.x", "f usr/lib/.wh.y"],
];

describe.skipIf(skipped !== undefined)("compare", () => {
  test("finds what is new, changed and gone, and both ways to look agree", async () => {
    const at = fresh();
    await place.apply(base, place.bind(`${at}.lower`));
    await place.apply(changes, place.overlay(at, `${at}.lower`));
    const { tar } = await compare(view(`${at}.lower`), place.overlay(at, `${at}.lower`));
    expect(list(tar)).toEqual(expected);
    // By another name nobody can tell that the layers below are the same: every file is looked at.
    symlinkSync(place.path(`${at}.lower`), place.path(`${at}.other`));
    const other: Mount = { type: "bind", source: place.path(`${at}.other`), target: "", options: ["ro", "bind"] };
    expect((await compare([other], place.overlay(at, `${at}.lower`))).tar.equals(tar)).toBe(true);

    // The layer leads from the lower tree to the upper one, in both ways to write it.
    for (const mounts of [place.overlay(`${at}.applied`, `${at}.lower`), undefined]) {
      if (mounts === undefined) {
        await place.apply(base, place.bind(`${at}.flat`));
        await place.apply(tar, place.bind(`${at}.flat`));
      } else await place.apply(tar, mounts);
      const same = await compare(place.overlay(at, `${at}.lower`), mounts ?? view(`${at}.flat`));
      expect(list(same.tar)).toEqual([]);
    }
    expect(place.attributes(`${at}.flat/noted`)).toEqual({ "user.note": "n\0" });
  });

  test("of a tree with itself and of nothing with nothing is empty, with nothing below everything is new", async () => {
    const at = fresh();
    await place.apply(base, place.bind(at));
    expect((await compare(view(at), view(at))).tar).toEqual(Buffer.alloc(1024));
    expect((await compare([], [])).tar).toEqual(Buffer.alloc(1024));
    const { tar } = await compare([], view(at));
    expect(list(tar)).toHaveLength(list(base).length);
    expect((await compare([], view(at))).tar.equals(tar)).toBe(true);
  });

  test("of several layers above is of all of them", async () => {
    const at = fresh();
    await place.apply(base, place.bind(`${at}.0`));
    await place.apply(
      archive(entry({ name: "usr/bin/.wh.a" }), entry({ name: "one", body: "1" })),
      place.overlay(`${at}.1`, `${at}.0`),
    );
    const top = place.overlay(`${at}.2`, `${at}.1`, `${at}.0`);
    await place.apply(
      archive(entry({ name: "usr/bin/a", body: "back" }), entry({ name: ".wh.one" }), entry({ name: "two" })),
      top,
    );
    expect(list((await compare(view(`${at}.0`), top)).tar)).toEqual(
      ["d usr/", "d usr/bin/", "f usr/bin/a", "f two"].sort((a, b) => (a.slice(2) < b.slice(2) ? -1 : 1)),
    );
    expect(list((await compare(view(`${at}.1`, `${at}.0`), top)).tar)).toEqual([
      "f .wh.one",
      "f two",
      "d usr/",
      "d usr/bin/",
      "f usr/bin/a",
    ]);
    expect(list((await compare(top, view(`${at}.0`))).tar)).toEqual([
      "f .wh.two",
      "d usr/",
      "d usr/bin/",
      "f usr/bin/a",
      "l usr/bin/b -> usr/bin/a",
    ]);
  });

  test("compresses, labels, and bounds times", async () => {
    const at = fresh();
    await place.apply(base, place.bind(at));
    const { tar } = await compare([], view(at), { latest: 500 });
    const gzip = await compare([], view(at), { mediaType: "", latest: 500, labels: { mine: "1" } });
    const zstd = await compare([], view(at), { mediaType: `${tarType}+zstd`, latest: 500 });
    expect(gunzipSync(gzip.blob.bytes).equals(tar)).toBe(true);
    expect(zstdDecompressSync(zstd.blob.bytes).equals(tar)).toBe(true);
    expect(gzip.blob.labels).toEqual({ mine: "1", "containerd.io/uncompressed": sha256(tar) });
    await place.apply(tar, place.bind(`${at}.applied`));
    expect(place.see(`${at}.applied/etc/passwd`).mtime).toBe(500);
    expect(place.see(`${at}.applied/same-size`).mtime).toBe(5);
  });

  test("writes a file of holes without them", async () => {
    const at = fresh();
    const sparse = { "GNU.sparse.size": String(1 << 27), "GNU.sparse.map": `${1 << 20},5,${1 << 26},4` };
    await place.apply(
      archive(pax(sparse), entry({ name: "d/s", body: "helloabcd", mtime: 5, mode: 0o600 })),
      place.bind(at),
    );
    const { tar } = await compare([], view(at));
    expect(tar.length).toBeLessThan(64 << 10);
    expect(list(tar)).toEqual(["d d/", "f d/s"]);
    await place.apply(tar, place.bind(`${at}.applied`));
    expect(place.see(`${at}.applied/d/s`)).toEqual({ type: "file", mode: 0o600, uid: 0, gid: 0, mtime: 5 });
    expect(list((await compare(view(at), view(`${at}.applied`))).tar)).toEqual([]);
    // GNU tar reads it as well.
    const file = place.path("sparse.tar");
    writeFileSync(file, tar);
    const { stdout } = Bun.spawnSync(["tar", "tvf", file, "--numeric-owner"]);
    expect(String(stdout)).toMatch(/0\/0\s+134217728 .* d\/s/);
  }, 20_000);

  test("passes on what the blob says, and leaves no process", async () => {
    const at = fresh();
    await place.apply(
      archive(entry({ name: "f", body: crypto.getRandomValues(Buffer.alloc(60_000)) })),
      place.bind(at),
    );
    const blob = new Blob();
    blob.fails = new ContainerdError(Code.ResourceExhausted, "no space");
    expect(await outcome(compare([], view(at), { open: async () => blob }))).toThrow("no space");
    const there = new Blob();
    there.commit = () => Promise.reject(alreadyExists("there"));
    expect(
      await place.diff.compare([], view(at), { mediaType: "", labels: {}, open: async () => there }),
    ).toMatchObject({ size: there.offset });
    expect(await outcome(compare([], view(at), { mediaType: "text/plain" }))).toThrow(
      "unsupported diff media type: text/plain",
    );
    expect(
      await outcome(
        compare([], [{ type: "bind", source: join(place.directory, "missing"), target: "", options: ["bind"] }]),
      ),
    ).toThrow("no such file");
  });
});

/** What goes to make room, in which order, and what never goes. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { candidates, imageBytes } from "../../../../supervisor/disk/candidates.ts";
import { type EvictParts, evict, evictable } from "../../../../supervisor/disk/evict.ts";
import { RecentUses } from "../../../../supervisor/disk/recent.ts";
import type { Volume } from "../../../../supervisor/disk/volume.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { migrations } from "../../../../supervisor/store/schema.ts";

let root: string;
let database: Database;
/** Bytes that are used. */
let used: number;
let events: string[];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "berth-evict-"));
  database = new Database(join(root, "berth.db"), migrations);
  used = 1000;
  events = [];
});

afterEach(() => {
  database.close();
  rmSync(root, { recursive: true });
});

function addImage(name: string, options: { digest?: string; labels?: object; namespace?: string } = {}): void {
  database.run(
    "INSERT INTO images (namespace, name, digest, labels, record) VALUES (?, ?, ?, ?, x'')",
    options.namespace ?? "n",
    name,
    options.digest ?? `sha256:${name}`,
    JSON.stringify(options.labels ?? {}),
  );
}

function addContainer(id: string, image: string): void {
  database.run(
    `INSERT INTO containers (namespace, id, snapshotter, snapshot_key, image, runtime, sandbox, labels, record)
     VALUES ('n', ?, '', '', ?, '', '', '{}', x'')`,
    id,
    image,
  );
}

function removeContainer(id: string): void {
  database.run("DELETE FROM containers WHERE id = ?", id);
}

function addLog(name: string, bytes: number, seconds: number): string {
  const path = join(root, "logs", name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, new Uint8Array(bytes));
  utimesSync(path, seconds, seconds);
  return path;
}

/** @param each bytes that an image, and that a log, give back */
function parts(each: { garbage?: number; image?: number; log?: number }, isRecent = () => false): EvictParts {
  const logs = ["a.log.1", "a.log.2", "b.log.1"].map((name) => join(root, "logs", "n", "c", name));
  const known = new Set(logs.filter(existsSync));
  const measure = async (): Promise<Volume[]> => {
    for (const path of known) {
      if (existsSync(path)) continue;
      known.delete(path);
      used -= each.log ?? 0;
    }
    const paths = [root, join(root, "logs")];
    return [{ device: 1, paths, total: 1000, used, available: 1000 - used, inodes: 0, freeInodes: 0 }];
  };
  return {
    database,
    root,
    isRecent,
    measure,
    logDirectories: [join(root, "logs")],
    collector: {
      collect: async () => {
        events.push("collect");
        used -= each.garbage ?? 0;
        each.garbage = 0;
      },
    },
    snapshots: { cleanupOwn: async () => void events.push("cleanup") },
    images: {
      delete: async (namespace, name) => {
        events.push(`image ${name}`);
        database.run("DELETE FROM images WHERE namespace = ? AND name = ?", namespace, name);
        used -= each.image ?? 0;
      },
    },
    onError: (what, error) => events.push(`${what}: ${error}`),
  };
}

const below =
  (limit: number) =>
  (volume: Volume): boolean =>
    volume.used > limit;

test("garbage that is enough is all that goes", async () => {
  addImage("a");
  const gone = await evict(parts({ garbage: 300 }), below(800));
  expect(gone).toEqual([{ kind: "garbage", namespace: "", name: "", bytes: 300 }]);
  expect(candidates(database)).toHaveLength(1);
});

test("images go by their last use until there is room, then logs, the oldest first", async () => {
  for (const name of ["a", "b", "c"]) addImage(name);
  // A use makes "a" the one that goes last.
  addContainer("x", "a");
  removeContainer("x");
  const first = addLog("n/c/b.log.1", 10, 100);
  const second = addLog("n/c/a.log.1", 10, 200);
  const current = addLog("n/c/a.log", 10, 50);
  const gone = await evict(parts({ image: 100, log: 100 }), below(600));
  expect(gone.map(({ kind, name }) => `${kind} ${name}`)).toEqual(["image b", "image c", "image a", `log ${first}`]);
  expect([first, second, current].map(existsSync)).toEqual([false, true, true]);
});

test("what is pinned, used by a container under any name, leased or recent never goes, nor a log that is written", async () => {
  addImage("pinned", { labels: { "io.cri-containerd.pinned": "pinned" } });
  addImage("used");
  addImage("same", { digest: "sha256:used" });
  addImage("by-digest");
  addImage("leased");
  addImage("recent");
  addImage("elsewhere", { namespace: "other", digest: "sha256:used" });
  addContainer("x", "used");
  addContainer("y", "sha256:by-digest");
  database.run("INSERT INTO leases (namespace, id, created_at, labels) VALUES ('n', 'l', 0, '{}')");
  database.run("INSERT INTO lease_resources (namespace, lease, type, id) VALUES ('n', 'l', 'images', 'leased')");
  const current = addLog("n/c/a.log", 10, 50);
  const made = parts({ image: 1 });
  const gone = await evict({ ...made, isRecent: ({ name }) => name === "recent" }, below(0));
  expect(gone.map(({ name }) => name)).toEqual(["elsewhere"]);
  expect(existsSync(current)).toBe(true);
});

test("an image that cannot be removed is passed over, and told of", async () => {
  for (const name of ["a", "b"]) addImage(name);
  const made = parts({ image: 100 });
  const images = {
    delete: async (namespace: string, name: string) => {
      if (name === "a") throw new Error("it is stuck");
      await made.images.delete(namespace, name);
    },
  };
  const gone = await evict({ ...made, images }, below(0));
  expect(gone.map(({ name }) => name)).toEqual(["b"]);
  expect(events).toContain("evict image a: it is stuck");
});

test("a dry run tells in order what would go, and what it takes", async () => {
  addImage("a", { digest: "sha256:m" });
  addImage("b");
  const blob = (digest: string, size: number, labels: object) =>
    database.run("INSERT INTO blobs VALUES ('n', ?, ?, 0, 0, ?)", digest, size, JSON.stringify(labels));
  blob("sha256:m", 10, {
    "containerd.io/gc.ref.content.config": "sha256:c",
    "containerd.io/gc.ref.content.l.0": "sha256:l",
  });
  blob("sha256:c", 200, {});
  blob("sha256:l", 3000, { "containerd.io/gc.ref.content.again": "sha256:m" });
  const path = addLog("n/c/a.log.1", 1, 1);
  const would = await evictable(parts({}));
  expect(would.map(({ kind, name }) => `${kind} ${name}`)).toEqual(["image a", "image b", `log ${path}`]);
  expect(would[0]?.bytes).toBe(3210);
  expect(imageBytes(database, { namespace: "n", name: "b", digest: "sha256:b" })).toBe(0);
  expect(existsSync(path)).toBe(true);
});

test("uses are recent by a clock that does not jump, and those before the start are not", () => {
  let now = 0;
  addImage("old");
  const recent = new RecentUses(database, 600, () => now);
  const isRecent = (name: string): boolean => recent.isRecent({ namespace: "n", name, digest: "" });
  now = 10;
  addImage("new");
  recent.note();
  expect([isRecent("old"), isRecent("new")]).toEqual([false, true]);
  now = 500;
  addContainer("x", "old");
  recent.note();
  expect([isRecent("old"), isRecent("new")]).toEqual([true, true]);
  now = 700;
  expect([isRecent("old"), isRecent("new")]).toEqual([true, false]);
  now = 1200;
  expect([isRecent("old"), isRecent("new")]).toEqual([false, false]);
});

test("a use is on record with the container's own record, without a further write", () => {
  addImage("a");
  addImage("b");
  expect(candidates(database).map(({ name }) => name)).toEqual(["a", "b"]);
  addContainer("x", "a");
  removeContainer("x");
  expect(candidates(database).map(({ name }) => name)).toEqual(["b", "a"]);
  database.run("DELETE FROM images WHERE name = 'a'");
  expect(database.all("SELECT name FROM image_uses")).toEqual([{ name: "b" }]);
});

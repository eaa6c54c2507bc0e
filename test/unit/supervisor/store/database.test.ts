/** What a database promises when the disk does not. */

import { afterEach, expect, mock, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const real = { ...fs };
let failures = 0;
mock.module("node:fs", () => ({
  ...real,
  fdatasync: (fd: number, done: (error: Error | null) => void) =>
    failures-- > 0 ? queueMicrotask(() => done(new Error("EIO"))) : real.fdatasync(fd, done),
}));
const { Database } = await import("../../../../supervisor/store/database.ts");

const root = real.mkdtempSync(join(tmpdir(), "berth-database-"));
afterEach(() => real.rmSync(root, { recursive: true, force: true }));

test("after a failed sync nothing counts as durable that is in the log alone", async () => {
  const path = join(root, "berth.db");
  const database = new Database(path, ["CREATE TABLE t (name TEXT) STRICT"]);
  const add = (name: string) => database.commit(() => database.run("INSERT INTO t VALUES (?)", name));
  await add("a");
  failures = 1;
  // The kernel tells of it once, and has dropped what it could not write: the log may have a gap there.
  await add("b").catch(() => undefined);
  await add("c");
  // As after a power cut: the log ends at the gap.
  real.copyFileSync(path, join(root, "after.db"));
  const after = new Database(join(root, "after.db"), ["CREATE TABLE t (name TEXT) STRICT"]);
  expect(after.all("SELECT name FROM t ORDER BY name")).toContainEqual({ name: "b" });
  after.close();
  database.close();
});

/** Bundles on disk, as containerd makes them. */

import { afterAll, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Bundle, type BundleRoots } from "../../../../supervisor/task/bundle.ts";
import { findBundles, sweep } from "../../../../supervisor/task/load.ts";
import { outcome } from "../../../lib/outcome.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-bundle-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let count = 0;

function roots(): BundleRoots {
  const base = join(dir, String(++count));
  const made = { root: join(base, "root"), state: join(base, "state") };
  for (const path of [made.root, made.state]) mkdirSync(path, { recursive: true });
  return made;
}

const spec = (value: object): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const mode = (path: string): string => (lstatSync(path).mode & 0o7777).toString(8);

test("directories, modes and the link are containerd's", async () => {
  const bundle = new Bundle(roots(), "default", "c1");
  await bundle.create(spec({ root: {} }));
  expect(mode(bundle.path)).toBe("700");
  expect(mode(bundle.work)).toBe("711");
  expect(mode(join(bundle.path, "rootfs"))).toBe("711");
  expect(mode(join(bundle.path, ".."))).toBe("711");
  expect(readlinkSync(join(bundle.path, "work"))).toBe(bundle.work);
  expect(await Bun.file(bundle.file("config")).json()).toEqual({ root: {} });
  await bundle.remove();
  expect(existsSync(bundle.path)).toBe(false);
  expect(existsSync(bundle.work)).toBe(false);
  await bundle.remove();
});

const isRoot = process.getuid?.() === 0;

test.skipIf(!isRoot)("the group that is root's in a user namespace may enter", async () => {
  const bundle = new Bundle(roots(), "default", "c1");
  const gidMappings = [
    { containerID: 5, hostID: 7, size: 1 },
    { containerID: 0, hostID: 100_000, size: 65_536 },
  ];
  await bundle.create(spec({ linux: { gidMappings } }));
  expect(mode(bundle.path)).toBe("710");
  expect(lstatSync(bundle.path).gid).toBe(100_000);
  await bundle.remove();
});

test("what a crash has left at the place goes first", async () => {
  const bundle = new Bundle(roots(), "default", "c1");
  await bundle.create(spec({}));
  writeFileSync(join(bundle.path, "old"), "");
  writeFileSync(join(bundle.work, "old"), "");
  await bundle.create(spec({}));
  expect(existsSync(join(bundle.path, "old"))).toBe(false);
  expect(existsSync(join(bundle.work, "old"))).toBe(false);
});

test("a removal that was cut off does not stop the next", async () => {
  const bundle = new Bundle(roots(), "default", "c1");
  await bundle.create(spec({}));
  mkdirSync(join(bundle.path, "..", ".c1"));
  writeFileSync(join(bundle.path, "..", ".c1", "old"), "");
  await bundle.remove();
  expect(readdirSync(join(bundle.path, ".."))).toEqual([]);
});

test("a rootfs that is not empty and not a mount is not removed", async () => {
  const bundle = new Bundle(roots(), "default", "c1");
  await bundle.create(spec({}));
  writeFileSync(join(bundle.path, "rootfs", "precious"), "");
  expect(await outcome(bundle.remove())).toThrow("failed to remove bundle rootfs");
  expect(existsSync(join(bundle.path, "rootfs", "precious"))).toBe(true);
});

test("a specification that is no JSON leaves nothing", async () => {
  const bundle = new Bundle(roots(), "default", "c1");
  expect(await outcome(bundle.create(new TextEncoder().encode('{"gidMappings"')))).toThrow();
  expect(existsSync(bundle.path)).toBe(false);
});

test("hidden and foreign names are no bundles, and what has no bundle is swept", async () => {
  const at = roots();
  for (const id of ["a", "b"]) await new Bundle(at, "default", id).create(undefined);
  mkdirSync(join(at.state, "default", ".gone"));
  mkdirSync(join(at.state, "default", "not an id"));
  mkdirSync(join(at.root, "default", "lost"));
  mkdirSync(join(at.root, "default", ".half"));
  expect(findBundles(at).sort()).toEqual([
    ["default", "a"],
    ["default", "b"],
  ]);
  await sweep(at, async (_namespace, id, remove) => {
    if (id !== "a" && id !== "b") await remove();
  });
  expect(readdirSync(join(at.root, "default")).sort()).toEqual(["a", "b"]);
  expect(readdirSync(join(at.state, "default")).sort()).toEqual(["a", "b", "not an id"]);
});

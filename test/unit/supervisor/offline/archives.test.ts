/** R29: archives of watched directories are imported once, when they are whole. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { failedPrecondition } from "../../../../proto/errdefs.ts";
import { Archives } from "../../../../supervisor/offline/archives.ts";
import { filesIn, openPlain, readList } from "../../../../supervisor/offline/files.ts";
import { findPlaces } from "../../../../supervisor/offline/places.ts";
import { Taken } from "../../../../supervisor/offline/taken.ts";
import { outcome } from "../../../lib/outcome.ts";
import { waitFor } from "../../../lib/wait.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} } as unknown as ConstructorParameters<
  typeof Archives
>[0]["log"];
let dir = "";
let open: Archives[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "berth-offline-"));
});
afterEach(async () => {
  for (const archives of open) await archives.close();
  open = [];
  rmSync(dir, { recursive: true, force: true });
});

/** Archives whose content says what comes of them: a name, or `bad`. */
function archivesOf(settledMs = 50) {
  const loaded: string[] = [];
  const failed: string[] = [];
  const archives = new Archives({
    ...{ taken: new Taken(join(dir, "taken.json")), log, settledMs },
    async load(bytes) {
      const parts: Uint8Array[] = [];
      for await (const part of bytes) parts.push(part);
      const text = Buffer.concat(parts).toString();
      if (text.startsWith("bad")) throw new Error("no archive");
      if (text.startsWith("needs ") && !loaded.includes(text.slice(6))) throw failedPrecondition("an image is missing");
      loaded.push(text);
      return [`image-${text}`];
    },
    onArrived: () => undefined,
    onFailed: (path, error) => failed.push(`${path.slice(dir.length + 1)}: ${error}`),
  });
  open.push(archives);
  const see = async () => archives.see((await filesIn(dir)).map(({ path }) => path));
  const stateOf = (name: string) => archives.state.find(({ path }) => path === join(dir, name))?.state;
  return { archives, loaded, failed, see, stateOf };
}

test("R29: a file that is still written to is left alone until it is whole", async () => {
  const { loaded, see, stateOf } = archivesOf(300);
  writeFileSync(join(dir, "a.tar"), "o");
  await see();
  await waitFor("the first look", () => stateOf("a.tar") === "settling");
  expect(loaded).toEqual([]);
  appendFileSync(join(dir, "a.tar"), "ne");
  await waitFor("the import", () => loaded.length > 0);
  expect(loaded).toEqual(["one"]);
});

test("R29: an archive is imported once, also by the next daemon, and its images stay when it goes", async () => {
  const first = archivesOf();
  writeFileSync(join(dir, "a.tar"), "one");
  utimesSync(join(dir, "a.tar"), 1000, 1000);
  await first.see();
  await waitFor("the import", () => first.stateOf("a.tar") === "taken");
  const second = archivesOf();
  await second.see();
  await waitFor("the second look", () => second.stateOf("a.tar") === "taken");
  expect([first.loaded, second.loaded]).toEqual([["one"], []]);
  expect(second.archives.state[0]?.images).toEqual(["image-one"]);
  rmSync(join(dir, "a.tar"));
  await second.see();
  await waitFor("the third look", () => second.archives.state.length === 0);
  // Another file of the name is another archive.
  writeFileSync(join(dir, "a.tar"), "two");
  await second.see();
  await waitFor("the import", () => second.loaded.length > 0);
  expect(second.loaded).toEqual(["two"]);
});

test("R29: a refused archive is told of once, and not tried again until it changes", async () => {
  const { loaded, failed, see, stateOf } = archivesOf();
  writeFileSync(join(dir, "a.tar"), "bad");
  await see();
  await waitFor("the failure", () => stateOf("a.tar") === "failed");
  await see();
  await see();
  writeFileSync(join(dir, "b.tar"), "good");
  await see();
  await waitFor("the other", () => stateOf("b.tar") === "taken");
  expect(failed).toEqual(["a.tar: no archive"]);
  writeFileSync(join(dir, "a.tar"), "mended");
  await see();
  await waitFor("the import", () => stateOf("a.tar") === "taken");
  expect(loaded).toEqual(["good", "mended"]);
});

test("R29: a delta that came before its image is applied after it", async () => {
  const { loaded, see, stateOf } = archivesOf();
  writeFileSync(join(dir, "a-delta.tar"), "needs base");
  await see();
  await waitFor("the failure", () => stateOf("a-delta.tar") === "failed");
  writeFileSync(join(dir, "base.tar"), "base");
  await see();
  await waitFor("both", () => stateOf("a-delta.tar") === "taken");
  expect(loaded).toEqual(["base", "needs base"]);
});

test("R29: what is no plain file of the directory is ignored or refused", async () => {
  const outside = join(dir, "outside");
  const inside = join(dir, "inside");
  mkdirSync(outside);
  mkdirSync(inside);
  writeFileSync(join(outside, "secret.tar"), "x");
  for (const name of [
    "good.tar",
    ".hidden.tar",
    "half.tar.part",
    "half.tar.tmp",
    "readme.md",
    "a.tar.gz",
    "b.tar.zst",
  ]) {
    writeFileSync(join(inside, name), "x");
  }
  Bun.spawnSync(["mkfifo", join(inside, "fifo.tar")]);
  mkdirSync(join(inside, "directory.tar"));
  symlinkSync(join(outside, "secret.tar"), join(inside, "link.tar"));
  symlinkSync("good.tar", join(inside, "same.tar"));
  symlinkSync("/dev/zero", join(inside, "zero.tar"));
  const names = (await filesIn(inside)).map(({ path }) => path.slice(inside.length + 1));
  expect(names).toEqual(["a.tar.gz", "b.tar.zst", "good.tar", "link.tar", "same.tar", "zero.tar"]);
  expect(await outcome(openPlain(join(inside, "link.tar")))).toThrow("leads out of");
  expect(await outcome(openPlain(join(inside, "zero.tar")))).toThrow("leads out of");
  expect(await outcome(openPlain(join(inside, "fifo.tar")))).toThrow("no plain file");
  await (await openPlain(join(inside, "same.tar"))).close();
  // And it is told of as any archive that is refused.
  const { failed, stateOf, archives } = archivesOf();
  archives.see([join(inside, "link.tar")]);
  await waitFor("the refusal", () => stateOf("inside/link.tar") === "failed");
  expect(failed[0]).toContain("leads out of");
});

test("a list has a reference a line, and bounds", async () => {
  const path = join(dir, "images.txt");
  writeFileSync(path, "# comment\nalpine:3\n\n  registry.local/app:1  # why\n");
  expect(await readList(path)).toEqual(["alpine:3", "registry.local/app:1"]);
  writeFileSync(path, "a\n".repeat(1001));
  expect(await outcome(readList(path))).toThrow("1000 images");
  writeFileSync(path, "#".repeat(300_000));
  expect(await outcome(readList(path))).toThrow("bytes");
});

test("patterns mean what is there, and watch where more may come", () => {
  mkdirSync(join(dir, "media/stick/berth"), { recursive: true });
  mkdirSync(join(dir, "media/other"));
  const { matches, watched } = findPlaces([`${dir}/media/*/berth`, `${dir}/none/deep`]);
  expect(matches).toEqual([join(dir, "media/stick/berth")]);
  expect([...watched.keys()].sort()).toEqual([
    dir,
    ...["media", "media/other", "media/stick/berth"].map((p) => join(dir, p)),
  ]);
});

test("a damaged record of what was imported counts as none", () => {
  writeFileSync(join(dir, "taken.json"), "{broken");
  const taken = new Taken(join(dir, "taken.json"));
  expect(taken.get("x")).toBeUndefined();
  for (let i = 0; i < 2005; i += 401) taken.add(`key${i}`, ["image"]);
  expect(new Taken(join(dir, "taken.json")).get("key401")).toEqual(["image"]);
});

import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { Appender } from "../../../../supervisor/content/ingest.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { diskFull } from "../../../../supervisor/store/reserve.ts";
import { outcome, rejection } from "../../../lib/outcome.ts";
import { digestOf, Rig } from "./rig.ts";

let rig: Rig;

beforeEach(async () => {
  rig = await new Rig().open();
});
afterEach(async () => {
  await rig.store.idle();
  rig.database.close();
  rig.remove();
  expect(rig.errors).toEqual([]);
});

const bytes = (text: string): Uint8Array => Buffer.from(text);
const blobs = (): string[] => readdirSync(join(rig.root, "content/blobs/sha256"));
const ingests = (): string[] => readdirSync(join(rig.root, "content/ingest"));
const damage = (digest: string, text: string): void => {
  chmodSync(rig.store.path(digest), 0o644);
  writeFileSync(rig.store.path(digest), text);
};

test("a blob is written, listed, read, labelled and deleted", async () => {
  const digest = await rig.put("hello", "default", { a: "b" });
  expect(await rig.get(digest)).toBe("hello");
  expect(await rig.store.info("default", digest)).toMatchObject({ digest, size: 5, labels: { a: "b" } });
  expect(statSync(rig.store.path(digest)).mode & 0o777).toBe(0o444);
  await rig.store.update("default", digest, { c: "d", a: "" }, ["labels.c", "labels.a"]);
  expect([...rig.store.list("default", ["labels.c==d"])].map((info) => info.labels)).toEqual([{ c: "d" }]);
  expect([...rig.store.list("default", ["labels.a"])]).toEqual([]);
  await rig.store.delete("default", digest);
  await rig.store.idle();
  expect(blobs()).toEqual([]);
  expect(ingests()).toEqual([]);
  expect(rig.events).toEqual(["default /content/create", "default /content/delete"]);
  expect(await outcome(rig.store.info("default", digest))).toThrow(`content digest ${digest}: not found`);
});

test("an ingest is resumed where it was left, also by the next daemon", async () => {
  const first = await rig.store.writer("default", { ref: "r", total: 10 });
  await first.write(bytes("hello"));
  await first.close();
  expect(await rig.store.status("default", "r")).toMatchObject({ ref: "r", offset: 5, total: 10 });
  await rig.kill();
  await rig.open();
  const expected = digestOf("helloworld");
  const second = await rig.store.writer("default", { ref: "r", total: 10, expected });
  expect(second.offset).toBe(5);
  await second.write(bytes("world"));
  await second.commit({ size: 10, expected });
  expect(await rig.get(digestOf("helloworld"))).toBe("helloworld");
  await rig.store.idle();
  expect(ingests()).toEqual([]);
  expect(await rig.store.statuses("default", [])).toEqual([]);
});

test("an ingest of another total begins again", async () => {
  const first = await rig.store.writer("default", { ref: "r", total: 10 });
  await first.write(bytes("hello"));
  await first.close();
  const second = await rig.store.writer("default", { ref: "r", total: 4 });
  expect(second.offset).toBe(0);
  await second.close();
  await rig.store.idle();
  expect(ingests().length).toBe(1);
});

test("a ref has one writer", async () => {
  const writer = await rig.store.writer("default", { ref: "r" });
  expect(await rejection(rig.store.writer("default", { ref: "r" }))).toMatchObject({
    code: 14,
    message: expect.stringMatching(/^ref default\/1\/r locked for [0-9.]+s \(since .*\): unavailable$/),
  });
  const other = await rig.store.writer("other", { ref: "r" });
  await other.close();
  await writer.close();
  const next = await rig.store.writer("default", { ref: "r" });
  await next.close();
});

test("a commit checks size and digest, and leaves the ingest", async () => {
  const first = await rig.store.writer("default", { ref: "r" });
  await first.write(bytes("hello"));
  expect(await rejection(first.commit({ size: 6 }))).toMatchObject({
    code: 9,
    message: `"r" failed size validation: 5 != 6: failed precondition`,
  });
  await Bun.sleep(1);
  const second = await rig.store.writer("default", { ref: "r" });
  expect(second.offset).toBe(5);
  const expected = digestOf("other");
  expect(await rejection(second.commit({ expected }))).toMatchObject({
    code: 9,
    message: `unexpected commit digest ${digestOf("hello")}, expected ${expected}: failed precondition`,
  });
  expect((await rig.store.status("default", "r")).offset).toBe(5);
  expect(blobs()).toEqual([]);
  expect(await rejection(second.write(bytes("x")))).toMatchObject({ code: 9 });
});

test("R25: bytes that a power cut has changed are not resumed for ever", async () => {
  const first = await rig.store.writer("default", { ref: "r" });
  await first.write(bytes("hello"));
  await first.close();
  const [name = ""] = ingests();
  await rig.kill();
  writeFileSync(join(rig.root, "content/ingest", name, "data"), "\0\0\0\0\0");
  await rig.open();
  const second = await rig.store.writer("default", { ref: "r", expected: digestOf("hello") });
  expect(second.offset).toBe(5);
  expect(await rejection(second.commit({ expected: digestOf("hello") }))).toMatchObject({ code: 9 });
  expect((await rig.store.status("default", "r")).offset).toBe(0);
});

test("R25: what a killed daemon left of one thing is not the beginning of another of the same ref", async () => {
  const write = async (text: string, isLeft = false) => {
    // As ctr imports the index of an archive.
    const writer = await rig.store.writer("default", { ref: "tar-index.json", total: 5 });
    if (writer.offset < 5) await writer.write(bytes(text));
    await (isLeft ? writer.close() : writer.commit({ size: 5 }));
  };
  await write("hello", true);
  await rig.kill();
  await rig.open();
  await write("world");
  expect(await rig.get(digestOf("world"))).toBe("world");
  await rig.store.idle();
  expect(ingests()).toEqual([]);
});

test("a blob that the collector takes while somebody commits it again is there afterwards", async () => {
  const digest = await rig.put("hello");
  await rig.leases.create("default", "l", {});
  const writer = await rig.store.writer("default", { ref: "r", lease: "l" });
  await writer.write(bytes("hello"));
  const look = rig.store.health.problem.bind(rig.store.health);
  using _ = spyOn(rig.store.health, "problem").mockImplementation(async (...blob) => {
    const found = await look(...blob);
    // As the sweep does it.
    rig.database.transaction(() => rig.store.records.deleteBlob("default", digest));
    void rig.store.waste.removeBlobs([digest]);
    return found;
  });
  await writer.commit();
  await rig.store.idle();
  expect(await rig.get(digest)).toBe("hello");
  expect(rig.leases.resources("default", "l")).toEqual([{ type: "content", id: digest }]);
});

test("truncate begins again", async () => {
  const writer = await rig.store.writer("default", { ref: "r" });
  await writer.write(bytes("wrong"));
  await writer.truncate(0);
  await writer.write(bytes("right"));
  await writer.commit({ expected: digestOf("right") });
  expect(await rig.get(digestOf("right"))).toBe("right");
});

test("what is there already is told at the beginning and at the commit, and the lease holds it", async () => {
  const digest = await rig.put("hello");
  await rig.leases.create("default", "l", {});
  const exists = { code: 6, message: `content ${digest}: already exists` };
  expect(await rejection(rig.store.writer("default", { ref: "r", expected: digest, lease: "l" }))).toMatchObject(
    exists,
  );
  expect(rig.leases.resources("default", "l")).toEqual([{ type: "content", id: digest }]);
  const writer = await rig.store.writer("default", { ref: "r", lease: "l" });
  await writer.write(bytes("hello"));
  expect(await rejection(writer.commit())).toMatchObject(exists);
  expect(rig.leases.resources("default", "l")).toEqual([{ type: "content", id: digest }]);
  expect(await rejection(rig.store.status("default", "r"))).toMatchObject({ code: 5 });
});

test("a lease holds the ingest, then the blob; one that is not there is an error", async () => {
  await rig.leases.create("default", "l", {});
  const writer = await rig.store.writer("default", { ref: "r", lease: "l" });
  expect(rig.leases.resources("default", "l")).toEqual([{ type: "ingests", id: "r" }]);
  await writer.write(bytes("hello"));
  await writer.commit();
  expect(rig.leases.resources("default", "l")).toEqual([{ type: "content", id: digestOf("hello") }]);
  expect(await rejection(rig.store.writer("default", { ref: "s", lease: "none" }))).toMatchObject({ code: 5 });
  expect(await rejection(rig.store.status("default", "s"))).toMatchObject({ code: 5 });
});

test("another namespace gets a blob for the asking", async () => {
  const digest = await rig.put("hello");
  expect(await rejection(rig.store.info("other", digest))).toMatchObject({ code: 5 });
  const writer = await rig.store.writer("other", { ref: "r", expected: digest, total: 5 });
  expect(writer.offset).toBe(5);
  await writer.commit({ expected: digest, size: 5 });
  expect(await rig.get(digest, "other")).toBe("hello");
  await rig.store.delete("default", digest);
  await rig.store.idle();
  expect(await rig.get(digest, "other")).toBe("hello");
  await rig.store.delete("other", digest);
  await rig.store.idle();
  expect(blobs()).toEqual([]);
});

test("a writer that began with a blob of another namespace can write something else", async () => {
  const digest = await rig.put("hello");
  const longer = await rig.store.writer("other", { ref: "r", expected: digest });
  await longer.write(bytes("world"));
  await longer.commit({ expected: digestOf("helloworld") });
  const fresh = await rig.store.writer("other", { ref: "r", expected: digest });
  await fresh.truncate(0);
  await fresh.write(bytes("new"));
  await fresh.commit({ expected: digestOf("new") });
  expect([...rig.store.list("other", [])].length).toBe(2);
});

test("an ingest that waits for a shared blob keeps its file", async () => {
  const digest = await rig.put("hello");
  const writer = await rig.store.writer("other", { ref: "r", expected: digest });
  await rig.store.delete("default", digest);
  await rig.store.idle();
  await writer.commit();
  expect(await rig.get(digest, "other")).toBe("hello");
});

test("isolated namespaces share only what a shareable one has", async () => {
  await rig.stop();
  await rig.open("isolated");
  const digest = await rig.put("hello");
  const writer = await rig.store.writer("other", { ref: "r", expected: digest });
  expect(writer.offset).toBe(0);
  await writer.close();
  rig.database.run(
    `UPDATE namespaces SET labels = '{"containerd.io/namespace.shareable":"true"}' WHERE name = 'default'`,
  );
  const shared = await rig.store.writer("third", { ref: "r", expected: digest });
  expect(shared.offset).toBe(5);
  await shared.close();
});

test("an aborted ingest is gone, and its writer cannot commit", async () => {
  const writer = await rig.store.writer("default", { ref: "r" });
  await writer.write(bytes("hello"));
  await rig.store.abort("default", "r");
  expect(ingests()).toEqual([]);
  expect(await rejection(writer.commit())).toMatchObject({ code: expect.any(Number) });
  await rig.store.idle();
  expect(blobs()).toEqual([]);
  expect(await outcome(rig.store.abort("default", "r"))).toThrow("reference r: not found");
  const next = await rig.store.writer("default", { ref: "r" });
  expect(next.offset).toBe(0);
  await next.close();
});

test("many writers of one blob: all succeed or find it there", async () => {
  const text = "x".repeat(300_000);
  const outcomes = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const writer = await rig.store.writer("default", { ref: `r${index}` });
      for (let at = 0; at < text.length; at += 30_000) await writer.write(bytes(text.slice(at, at + 30_000)));
      return writer.commit({ expected: digestOf(text) }).then(
        () => "made",
        (error: { code: number }) => error.code,
      );
    }),
  );
  expect(outcomes.filter((outcome) => outcome === "made").length).toBe(1);
  expect(outcomes.filter((outcome) => outcome === 6).length).toBe(19);
  expect(await rig.get(digestOf(text))).toBe(text);
  await rig.store.idle();
  expect(ingests()).toEqual([]);
});

test("readers go on when the blob is deleted", async () => {
  const digest = await rig.put("hello");
  const reader = await rig.store.readerAt("default", digest);
  await rig.store.delete("default", digest);
  await rig.store.idle();
  expect(Buffer.from(await reader.read(1, 3)).toString()).toBe("ell");
  await reader.close();
});

test("R25: a blob that a power cut has emptied is never served, and a new pull repairs it", async () => {
  const digest = await rig.put("hello", "default", { "containerd.io/gc.ref.content.0": "x" });
  await rig.kill();
  await rig.open();
  damage(digest, "");
  const found = { code: 5, message: expect.stringContaining("damaged on disk (it has 0 bytes instead of 5)") };
  expect(await rejection(rig.store.info("default", digest))).toMatchObject(found);
  expect(await rejection(rig.store.readerAt("default", digest))).toMatchObject({ code: 5 });
  expect([...rig.store.list("default", [])]).toEqual([]);
  const writer = await rig.store.writer("default", { ref: "r", expected: digest });
  expect(writer.offset).toBe(0);
  await writer.write(bytes("hello"));
  await writer.commit({ expected: digest });
  expect(await rig.get(digest)).toBe("hello");
  expect((await rig.store.info("default", digest)).labels).toEqual({ "containerd.io/gc.ref.content.0": "x" });
});

test("R25: bytes that changed are noticed after an unclean stop, also by the daemon after the next", async () => {
  const [one, two] = [await rig.put("hello"), await rig.put("world")];
  await rig.kill();
  damage(one, "hellO");
  await rig.open();
  expect(await rig.get(two)).toBe("world");
  // A clean stop between does not make the blob good.
  await rig.stop();
  await rig.open();
  expect(await rejection(rig.store.readerAt("default", one))).toMatchObject({
    code: 5,
    message: expect.stringContaining("its bytes do not have its digest"),
  });
  await rig.stop();
  await rig.open();
  expect(rig.store.health.isDamaged(one)).toBe(true);
  expect(rig.store.health.isSuspect(two)).toBe(false);
  // Another namespace may not have it for the asking either.
  const writer = await rig.store.writer("other", { ref: "r", expected: one });
  expect(writer.offset).toBe(0);
  await writer.close();
});

test("R25: nothing is hashed after a clean stop, but a file of another size is noticed", async () => {
  const [one, two] = [await rig.put("hello"), await rig.put("world")];
  await rig.stop();
  damage(one, "hellO");
  damage(two, "");
  await rig.open();
  expect(rig.store.health.isSuspect(one)).toBe(false);
  expect(await rejection(rig.store.readerAt("default", two))).toMatchObject({ code: 5 });
  const writer = await rig.store.writer("default", { ref: "r", expected: two });
  await writer.close();
  expect(await rig.store.verify(one)).toBe("its bytes do not have its digest");
  expect(await rejection(rig.store.info("default", one))).toMatchObject({ code: 5 });
});

test("a missing file is noticed at once", async () => {
  const digest = await rig.put("hello");
  await rig.store.files.remove(digest);
  rig.store.opened.forget(digest);
  const writer = await rig.store.writer("default", { ref: "r", expected: digest });
  await writer.write(bytes("hello"));
  await writer.commit({ expected: digest });
  expect(await rig.get(digest)).toBe("hello");
});

test("what a crash has left is swept: files and directories without a record, and nothing else", async () => {
  const digest = await rig.put("hello");
  const writer = await rig.store.writer("default", { ref: "r" });
  writeFileSync(rig.store.path(digestOf("orphan")), "orphan");
  writeFileSync(join(rig.root, "content/ingest", "junk"), "");
  await rig.store.waste.sweep();
  expect(blobs()).toEqual([digest.slice(7)]);
  expect(ingests().length).toBe(1);
  await writer.close();
});

test("hostile names stay names", async () => {
  for (const ref of ["../../etc/passwd", "a\0b", "/", ".", "x".repeat(10_000), "ü\n", "layer-sha256:abc"]) {
    const writer = await rig.store.writer("default", { ref });
    await writer.write(bytes(ref));
    expect((await rig.store.status("default", ref)).ref).toBe(ref);
    await writer.close();
    const again = await rig.store.writer("default", { ref });
    expect(again.offset).toBe(Buffer.byteLength(ref));
    await again.close();
    await rig.store.abort("default", ref);
  }
  expect(ingests()).toEqual([]);
  const digests = [
    "sha256:../../etc/passwd",
    "sha256:",
    ":",
    "",
    "sha256:ABC",
    `sha256:${"A".repeat(64)}`,
    `sha512:${"a".repeat(64)}`,
  ];
  for (const digest of digests) {
    expect(await rejection(rig.store.readerAt("default", digest))).toMatchObject({ code: 5 });
    expect(await rejection(rig.store.info("default", digest))).toMatchObject({ code: 5 });
    expect(await rejection(rig.store.delete("default", digest))).toMatchObject({ code: 5 });
    if (digest === "") continue;
    const writer = await rig.store.writer("default", { ref: "r", expected: digest });
    await writer.write(bytes("hello"));
    expect(await rejection(writer.commit({ expected: digest }))).toMatchObject({ code: 9 });
    await rig.store.abort("default", "r");
  }
  expect(await outcome(rig.store.writer("default", { ref: "" }))).toThrow("ref must not be empty: invalid argument");
  expect(existsSync(join(rig.root, "etc"))).toBe(false);
});

test("a file that shrinks while it is open is no end of the daemon", async () => {
  const digest = await rig.put("hello");
  const reader = await rig.store.readerAt("default", digest);
  chmodSync(rig.store.path(digest), 0o644);
  truncateSync(rig.store.path(digest), 2);
  expect((await reader.read(0, 5)).length).toBe(2);
  await reader.close();
});

test("a file goes only when it is on disk that no record has it", async () => {
  const digest = await rig.put("hello");
  const synced = Promise.withResolvers<void>();
  const { durable } = Database.prototype;
  const held = spyOn(rig.database, "durable").mockImplementation(() => synced.promise);
  const deleted = rig.store.delete("default", digest);
  // Another call, such as an abort of an ingest that waited for the blob, finds it unneeded.
  const removed = rig.store.waste.removeBlobs([digest]);
  await Bun.sleep(30);
  expect(existsSync(rig.store.path(digest))).toBe(true);
  held.mockImplementation(durable);
  synced.resolve();
  await Promise.all([deleted, removed]);
  await rig.store.idle();
  expect(existsSync(rig.store.path(digest))).toBe(false);
});

test("a sync in the background that fails while a commit waits for it fails the commit", async () => {
  const failed = Promise.withResolvers<void>();
  let syncs = 0;
  const file = {
    writev: (buffers: Uint8Array[]) => Promise.resolve({ bytesWritten: buffers.reduce((n, b) => n + b.length, 0) }),
    // As the kernel does it: an error is told once.
    datasync: () => (syncs++ === 0 ? failed.promise : Promise.resolve()),
  };
  const appender = new Appender(file as unknown as FileHandle, 0);
  await appender.append(new Uint8Array(17 << 20));
  await appender.settle();
  const synced = appender.sync();
  failed.reject(new Error("EIO"));
  expect(await outcome(synced)).toThrow("EIO");
});

test("a blob is read after a crash although the disk has no room to note that it is good", async () => {
  const digest = await rig.put("hello");
  await rig.kill();
  await rig.open();
  const { run } = Database.prototype;
  spyOn(rig.database, "run").mockImplementation(function (this: Database, sql, ...bindings) {
    if (sql.includes("blob_suspects")) throw diskFull("x");
    return run.call(this, sql, ...bindings);
  });
  expect(await rig.get(digest)).toBe("hello");
});

test("the file of a blob that only an ingest waited for goes when the ingest begins anew or is written to", async () => {
  const digest = await rig.put("hello", "a");
  const waiting = () => rig.store.writer("b", { ref: "r", total: 5, expected: digest });
  const first = await waiting();
  await rig.store.delete("a", digest);
  await rig.store.idle();
  expect(blobs()).toHaveLength(1);
  await first.write(bytes("more"));
  await rig.store.idle();
  expect(blobs()).toEqual([]);
  await first.close();
  await rig.put("hello", "a");
  await (await waiting()).close();
  await rig.store.delete("a", digest);
  await (await rig.store.writer("b", { ref: "r", total: 9 })).close();
  await rig.store.idle();
  expect(blobs()).toEqual([]);
});

test("a sweep passes over what is not of the store", async () => {
  const digest = await rig.put("hello");
  writeFileSync(join(rig.root, "content/blobs/stray"), "");
  writeFileSync(join(rig.root, "content/blobs/sha256/stray"), "");
  await rig.store.waste.sweep();
  expect(await rig.get(digest)).toBe("hello");
});

/** Layers that come to disk after their commit: who waits, what a failure does, and what a start takes back. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ContentStore } from "../../../../supervisor/content/store.ts";
import { isWhole } from "../../../../supervisor/content/whole.ts";
import { Collector } from "../../../../supervisor/gc/collector.ts";
import { defaultPolicy } from "../../../../supervisor/gc/scheduler.ts";
import { takeBack } from "../../../../supervisor/snapshot/boot.ts";
import type { Syncs } from "../../../../supervisor/snapshot/settling.ts";
import { Containers } from "../../../../supervisor/store/containers.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { Images } from "../../../../supervisor/store/images.ts";
import { Leases } from "../../../../supervisor/store/leases.ts";
import { Namespaces } from "../../../../supervisor/store/namespaces.ts";
import { migrations } from "../../../../supervisor/store/schema.ts";
import { outcome } from "../../../lib/outcome.ts";
import { waitFor } from "../../../lib/wait.ts";
import { type Fixture, openFixture } from "./fixture.ts";

setDefaultTimeout(30_000);

const ns = "default";
const overlay = "overlayfs";
const chain = (digit: string): string => `sha256:${digit.repeat(64)}`;

/** A disk that takes what it is told to when it is let. */
class SlowDisk implements Syncs {
  quietMs = 0;
  #gate = Promise.withResolvers<void>();
  /** What the next syncs fail with. */
  readonly failures: Error[] = [];
  readonly calls: string[] = [];

  tree(directory: string): Promise<void> {
    return this.#sync(`tree ${directory.split("/").at(-2)}`);
  }

  fileSystem(): Promise<void> {
    return this.#sync("all");
  }

  async #sync(call: string): Promise<void> {
    this.calls.push(call);
    await this.#gate.promise;
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
  }

  let(): void {
    this.#gate.resolve();
  }
}

/** Unpacks a layer as clients do. */
async function layer({ service }: Fixture, digit: string, parent = ""): Promise<string> {
  const key = `extract-1-x ${chain(digit)}`;
  const [mount] = await service.prepare(ns, undefined, overlay, key, parent, {});
  const upper = mount?.type === "bind" ? mount.source : mount?.options.find((o) => o.startsWith("upperdir="))?.slice(9);
  writeFileSync(`${upper}/file`, digit);
  await service.commit(ns, undefined, overlay, chain(digit), key, {});
  return upper ?? "";
}

const marks = ({ database }: Fixture): unknown[] =>
  database.all<{ synced: number }>("SELECT synced FROM trees ORDER BY id").map(({ synced }) => synced);

/** True when a promise has not ended in a moment. */
async function waits(promise: Promise<unknown>): Promise<boolean> {
  const ended = promise.then(
    () => false,
    () => false,
  );
  return await Promise.race([ended, Bun.sleep(50).then(() => true)]);
}

function error(code: string): Error {
  return Object.assign(new Error(`${code}: it is broken`), { code });
}

test("layers are committed on each other at once; whatever else stands on them waits until they are on disk", async () => {
  const disk = new SlowDisk();
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  const { service } = fixture;
  await layer(fixture, "a");
  await layer(fixture, "b", chain("a"));
  await layer(fixture, "c", chain("b"));
  expect(marks(fixture)).toEqual([3, 0, 0]);
  const settled = service.barrier.settled(ns, overlay, chain("c"));
  const prepared = service.prepare(ns, undefined, overlay, "container", chain("c"), {});
  const viewed = service.view(ns, undefined, overlay, "view", chain("a"), {});
  const all = service.barrier.allSettled();
  for (const promise of [settled, prepared, viewed, all]) expect(await waits(promise)).toBe(true);
  // Of what is not there nothing is to be waited for.
  await service.barrier.settled(ns, overlay, "missing");
  await service.barrier.settled(ns, "missing", chain("a"));
  disk.let();
  await Promise.all([settled, prepared, viewed, all]);
  expect(marks(fixture).slice(0, 3)).toEqual([1, 1, 1]);
  // One for the first, and one for all that came meanwhile.
  expect(disk.calls).toHaveLength(2);
  expect(disk.calls[1]).toBe("all");
});

test("what cannot be unpacked again is on disk when its commit is answered, and so is what it stands on", async () => {
  const disk = new SlowDisk();
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  const { service } = fixture;
  await service.prepare(ns, undefined, overlay, "work", "", {});
  await service.commit(ns, undefined, overlay, "result", "work", {});
  expect(marks(fixture)).toEqual([1]);
  await layer(fixture, "a");
  await service.prepare(ns, undefined, overlay, "extract-looks-like-it", chain("a"), {});
  const committed = service.commit(ns, undefined, overlay, "other", "extract-looks-like-it", {});
  expect(await waits(committed)).toBe(true);
  disk.let();
  await committed;
  expect(marks(fixture)).toEqual([1, 1, 1]);
});

test("a container is made, or given another snapshot, only when that is on disk", async () => {
  const disk = new SlowDisk();
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  const { service, database } = fixture;
  const publisher = { publish: () => undefined };
  const collector = { schedule: () => undefined };
  const namespaces = new Namespaces(database, publisher);
  const settled = service.barrier.settled.bind(service.barrier);
  const containers = new Containers({ database, publisher, collector, namespaces, settled });
  await layer(fixture, "a");
  const container = { id: "one", runtime: { name: "runc" }, snapshotter: overlay };
  await containers.create(ns, container);
  const created = containers.create(ns, { ...container, id: "two", snapshotKey: chain("a") });
  const updated = containers.update(ns, { ...container, snapshotKey: chain("a") }, ["snapshotkey"]);
  expect(await waits(Promise.race([created, updated]))).toBe(true);
  disk.let();
  await Promise.all([created, updated]);
});

test("labels that a client gives a layer, and leases that it gives one to, are told when it is on disk", async () => {
  const disk = new SlowDisk();
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  const { service } = fixture;
  const leases = leasesOf(fixture);
  const { id: lease } = await leases.create(ns, "", {});
  await layer(fixture, "a");
  const labelled = service.update(ns, overlay, chain("a"), { "containerd.io/gc.root": "now" }, []);
  const added = leases.addResource(ns, lease, { type: "snapshots/overlayfs", id: chain("a") });
  await leases.addResource(ns, lease, { type: "content", id: chain("f") });
  expect(await waits(Promise.race([labelled, added]))).toBe(true);
  disk.let();
  await Promise.all([labelled, added]);
});

test("an image is told to be kept, and blobs go, only when no layer is on its way that may need them", async () => {
  const disk = new SlowDisk();
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  const rooms = await roomsOf(fixture);
  const [kept, dropped] = [await rooms.put("kept"), await rooms.put("dropped")];
  await rooms.images.create(ns, { name: "first", target: target(kept) });
  await layer(fixture, "a");
  // Of what is no blob the collector need not wait.
  const [created, updated] = [
    rooms.images.create(ns, { name: "second", target: target(kept) }),
    rooms.images.update(ns, { name: "first", target: target(kept) }, ["target"]),
  ];
  const deleted = rooms.content.delete(ns, kept);
  const collected = rooms.collector.collect();
  expect(await waits(Promise.race([created, updated, deleted, collected]))).toBe(true);
  expect(rooms.images.list(ns).map(({ name }) => name)).toEqual(["first"]);
  for (const digest of [kept, dropped]) expect(existsSync(rooms.content.path(digest))).toBe(true);
  disk.let();
  await Promise.all([created, updated, deleted, collected]);
  await rooms.close();
  for (const digest of [kept, dropped]) expect(existsSync(rooms.content.path(digest))).toBe(false);
});

test("an image whose blobs are all there is told at once; one whose layer was found unpacked is not", async () => {
  const disk = new SlowDisk();
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  const rooms = await roomsOf(fixture);
  const [ref, absent] = ["containerd.io/gc.ref.content", `sha256:${"0".repeat(64)}`];
  const [blob, config] = [await rooms.put("layer"), await rooms.put("config")];
  const there = await rooms.put("manifest 1", { [`${ref}.config`]: config, [`${ref}.l.0`]: blob });
  const lacking = await rooms.put("manifest 2", {
    [`${ref}.config`]: config,
    [`${ref}.l.0`]: blob,
    [`${ref}.l.1`]: absent,
  });
  const silent = await rooms.put("manifest 3", { [`${ref}.config`]: config });
  const odd = await rooms.put("manifest 4", { [`${ref}.0`]: blob });
  const whole = await rooms.put("index 1", { [`${ref}.m.0`]: there });
  const half = await rooms.put("index 2", { [`${ref}.m.0`]: there, [`${ref}.m.1`]: lacking });
  const hollow = await rooms.put("index 3", { [`${ref}.m.0`]: absent });
  await layer(fixture, "a");
  for (const digest of [there, whole]) await rooms.images.create(ns, { name: digest, target: target(digest) });
  const others = [lacking, silent, odd, half, hollow].map((digest) =>
    rooms.images.create(ns, { name: digest, target: target(digest) }),
  );
  for (const other of others) expect(await waits(other)).toBe(true);
  disk.let();
  await Promise.all(others);
  await rooms.close();
});

test("a layer that the disk refused holds up nobody but those who use it", async () => {
  const disk = new SlowDisk();
  disk.failures.push(error("EMFILE"), error("ENOSPC"));
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  const rooms = await roomsOf(fixture);
  const blob = await rooms.put("blob");
  await layer(fixture, "a");
  const deleted = rooms.content.delete(ns, blob);
  disk.let();
  // It is not known yet what becomes of the layer.
  expect(await outcome(deleted)).toThrow("EMFILE");
  await rooms.images.create(ns, { name: "other", target: target(blob) });
  expect(marks(fixture)).toEqual([2]);
  await rooms.images.delete(ns, "other");
  await rooms.collector.collect();
  await rooms.close();
  expect(existsSync(rooms.content.path(blob))).toBe(false);
});

test("a sync that could not be made is made again; those who waited are told", async () => {
  const disk = new SlowDisk();
  disk.failures.push(error("EMFILE"));
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  await layer(fixture, "a");
  const told = fixture.service.barrier.settled(ns, overlay, chain("a"));
  disk.let();
  expect(await outcome(told)).toThrow("EMFILE: it is broken: it is tried again");
  expect(fixture.warnings).toHaveLength(1);
  // Who asks next has not to wait for the pause.
  await fixture.service.barrier.settled(ns, overlay, chain("a"));
  expect(marks(fixture)).toEqual([1]);
});

test("what the disk refused is never said to be on it, and the next start takes it back", async () => {
  const disk = new SlowDisk();
  disk.failures.push(error("EIO"));
  let fixture = openFixture(undefined, undefined, { syncs: disk, boot: "one" });
  await using _ = { [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose]() };
  const files = await layer(fixture, "a");
  disk.let();
  for (let i = 0; i < 2; i++)
    expect(await outcome(fixture.service.barrier.settled(ns, overlay, chain("a")))).toThrow(
      "EIO: it is broken: remove its image",
    );
  expect(disk.calls).toHaveLength(1);
  expect(marks(fixture)).toEqual([2]);
  expect(await outcome(fixture.service.prepare(ns, undefined, overlay, "container", chain("a"), {}))).toThrow("EIO");
  fixture = await fixture.reopen();
  expect(marks(fixture)).toEqual([]);
  await fixture.service.cleanup(overlay);
  expect(existsSync(files)).toBe(false);
});

test("what was committed while the disk refused something is not believed either", async () => {
  const disk = new SlowDisk();
  disk.failures.push(error("EIO"));
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  await layer(fixture, "a");
  await Bun.sleep(0);
  expect(disk.calls).toHaveLength(1);
  await layer(fixture, "b");
  disk.let();
  for (const digit of ["a", "b"])
    expect(await outcome(fixture.service.barrier.settled(ns, overlay, chain(digit)))).toThrow("EIO: it is broken");
  expect(disk.calls).toHaveLength(1);
  expect(marks(fixture)).toEqual([2, 2]);
});

test("a layer is taken back whose sync died with the daemon: nobody knows what the disk said", async () => {
  let fixture = openFixture(undefined, undefined, { syncs: new SlowDisk(), boot: "one" });
  await using _ = { [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose]() };
  await layer(fixture, "a");
  await Bun.sleep(0);
  await layer(fixture, "b");
  expect(marks(fixture)).toEqual([3, 0]);
  const disk = new SlowDisk();
  disk.let();
  fixture = fixture.crash({ boot: "one", syncs: disk });
  await fixture.service.barrier.allSettled();
  expect((await Array.fromAsync(fixture.service.list(ns, overlay, []))).map(({ name }) => name)).toEqual([chain("b")]);
  expect(marks(fixture)).toEqual([1]);
});

test("a full disk is said to be full", async () => {
  const disk = new SlowDisk();
  disk.failures.push(error("ENOSPC"));
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  await layer(fixture, "a");
  disk.let();
  expect(await outcome(fixture.service.barrier.settled(ns, overlay, chain("a")))).toThrow(/resource exhausted$/);
});

test("a layer that is not on disk can be removed; nobody waits for it any more", async () => {
  const disk = new SlowDisk();
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  await layer(fixture, "a");
  const settled = fixture.service.barrier.settled(ns, overlay, chain("a"));
  await fixture.service.remove(ns, undefined, overlay, chain("a"));
  await settled;
  await fixture.service.barrier.allSettled();
  expect(marks(fixture)).toEqual([]);
  disk.let();
});

test("a stop waits for layers on their way", async () => {
  const disk = new SlowDisk();
  let fixture = openFixture(undefined, undefined, { syncs: disk, boot: "one" });
  await using _ = { [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose]() };
  await layer(fixture, "a");
  const reopened = fixture.reopen({ boot: "two" });
  expect(await waits(reopened)).toBe(true);
  disk.let();
  fixture = await reopened;
  expect(marks(fixture)).toEqual([1]);
});

test("after a crash of the daemon alone layers that waited are synced; after another boot they are taken back with all above", async () => {
  const hung = new SlowDisk();
  let fixture = openFixture(undefined, undefined, { syncs: hung, boot: "one" });
  await using _ = { [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose]() };
  // While this one is synced the others wait.
  await layer(fixture, "f");
  await Bun.sleep(0);
  await layer(fixture, "a");
  await layer(fixture, "b", chain("a"));
  const disk = new SlowDisk();
  fixture = fixture.crash({ boot: "one", syncs: disk });
  expect(marks(fixture)).toEqual([0, 0]);
  const settled = fixture.service.barrier.settled(ns, overlay, chain("b"));
  expect(await waits(settled)).toBe(true);
  disk.let();
  await settled;
  expect(marks(fixture)).toEqual([1, 1]);

  fixture = fixture.crash({ boot: "one", syncs: new SlowDisk() });
  const former = fixture.root;
  const files = [await layer(fixture, "c", chain("b")), await layer(fixture, "d", chain("c"))];
  // A layer that was being unpacked.
  await fixture.service.prepare(ns, undefined, overlay, `extract-2 ${chain("e")}`, chain("d"), {});
  const leases = leasesOf(fixture);
  const { id: lease } = await leases.create(ns, "", {});
  for (const id of [chain("b"), chain("d")]) {
    fixture.database.transaction(() => leases.hold(ns, lease, { type: "snapshots/overlayfs", id }));
  }
  fixture = fixture.crash({ boot: "two" });
  const names = (await Array.fromAsync(fixture.service.list(ns, overlay, []))).map(({ name }) => name);
  expect(names.sort()).toEqual([chain("a"), chain("b")]);
  expect(fixture.database.all<{ key: string }>("SELECT key FROM snapshots ORDER BY key")).toHaveLength(2);
  expect(marks(fixture)).toEqual([1, 1]);
  expect(leasesOf(fixture).resources(ns, lease)).toEqual([{ type: "snapshots/overlayfs", id: chain("b") }]);
  expect(fixture.warnings[0]).toContain("unpacked again");
  expect(fixture.warnings[0]).toContain(chain("d"));
  const lost = files.map((path) => path.replace(former, fixture.root));
  await fixture.service.cleanup(overlay);
  for (const path of lost) expect(existsSync(path)).toBe(false);
  // Unpacked again.
  await layer(fixture, "c", chain("b"));
  await fixture.service.barrier.allSettled();
  // The boot is known now.
  fixture = fixture.crash({ boot: "two" });
  expect(marks(fixture)).toEqual([1, 1, 1]);
});

test("layers of a database from before count as on disk", async () => {
  await using fixture = openFixture();
  const path = join(fixture.root, "old.db");
  const old = new Database(path, migrations.slice(0, 1));
  old.run(
    `INSERT INTO trees (snapshotter, key, parent, kind, size, inodes, created_at, updated_at, labels)
     VALUES ('overlayfs', 'default/1/a', NULL, 3, 0, 0, 0, 0, '{}')`,
  );
  old.close();
  const database = new Database(path, migrations);
  const log = { warn: () => undefined };
  expect(takeBack(database, "one", log)).toEqual([]);
  expect(database.all("SELECT key, synced FROM trees")).toEqual([{ key: "default/1/a", synced: 1 }]);
  database.close();
});

const publisher = { publish: () => undefined };
const target = (digest: string) => ({ mediaType: "text/plain", digest, size: 4 });

function leasesOf({ database, service }: Fixture): Leases {
  const collector = { schedule: () => undefined };
  const settled = service.barrier.settled.bind(service.barrier);
  return new Leases({ database, namespaces: new Namespaces(database, publisher), collector, settled });
}

/** What goes and comes beside snapshots, as the daemon puts it together. */
async function roomsOf(fixture: Fixture) {
  const { root, database, service } = fixture;
  const leases = leasesOf(fixture);
  const namespaces = new Namespaces(database, publisher);
  const allDecided = service.barrier.allDecided.bind(service.barrier);
  const directory = join(root, "content");
  const content = await ContentStore.open({ directory, database, leases, namespaces, publisher, allDecided });
  const survives = async (namespace: string, digest: string): Promise<void> => {
    if (!isWhole(content.records, namespace, digest)) await allDecided();
  };
  const policy = { ...defaultPolicy, mutationThreshold: 0, startupDelay: 1e9 };
  const collector = new Collector({
    ...{ database, publisher, content, allDecided, policy },
    waste: content.waste,
    snapshots: service,
  });
  return {
    content,
    collector,
    images: new Images({ database, publisher, namespaces, leases, collector: { schedule() {} }, survives }),
    async put(text: string, labels: Record<string, string> = {}): Promise<string> {
      const writer = await content.writer(ns, { ref: text });
      await writer.write(Buffer.from(text));
      const digest = writer.digest();
      await writer.commit({ expected: digest, labels });
      return digest;
    },
    async close(): Promise<void> {
      await collector.close();
      await content.close();
    },
  };
}

test("a sync that nobody waits for begins when layers are no longer committed, and at once when somebody waits", async () => {
  const disk = new SlowDisk();
  disk.quietMs = 300;
  disk.let();
  await using fixture = openFixture(undefined, undefined, { syncs: disk });
  await layer(fixture, "a");
  await layer(fixture, "b", chain("a"));
  await Bun.sleep(50);
  expect(marks(fixture)).toEqual([0, 0]);
  await waitFor("the sync of both", () => marks(fixture).every((mark) => mark === 1));
  expect(disk.calls).toEqual(["all"]);
  await layer(fixture, "c", chain("b"));
  disk.quietMs = 100_000;
  await fixture.service.barrier.settled(ns, overlay, chain("c"));
  expect(marks(fixture)).toEqual([1, 1, 1]);
  // A stop waits for nobody's quiet.
  await layer(fixture, "d", chain("c"));
});

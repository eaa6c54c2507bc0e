/** What the snapshot service does beside the snapshots themselves: leases, events, references, races. */

import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { Collector } from "../../../../supervisor/gc/collector.ts";
import { overlayCapabilities } from "../../../../supervisor/snapshot/overlay.ts";
import { Kind } from "../../../../supervisor/snapshot/snapshotter.ts";
import { outcome } from "../../../lib/outcome.ts";
import { openFixture } from "./fixture.ts";

// The machine may be busy with other things.
setDefaultTimeout(30_000);

const ns = "default";
const overlay = "overlayfs";

test("a lease holds what is made, and the committed snapshot in place of the active one", async () => {
  await using fixture = openFixture();
  const { service, held } = fixture;
  await service.prepare(ns, "lease", overlay, "key", "", {});
  expect([...held]).toEqual(["default lease snapshots/overlayfs key"]);
  await service.commit(ns, "lease", overlay, "name", "key", {});
  expect([...held]).toEqual(["default lease snapshots/overlayfs name"]);
  // Who finds the snapshot made already keeps it too.
  expect(await outcome(service.prepare(ns, "other", overlay, "name", "", {}))).toThrow(
    'snapshot "name": already exists',
  );
  await service.prepare(ns, undefined, overlay, "key", "", {});
  expect(await outcome(service.commit(ns, "third", overlay, "name", "key", {}))).toThrow(
    'snapshot "name": already exists',
  );
  expect(held).toContain("default other snapshots/overlayfs name");
  expect(held).toContain("default third snapshots/overlayfs name");
  await service.remove(ns, "other", overlay, "name");
  expect(held).not.toContain("default other snapshots/overlayfs name");
});

test("an unknown lease leaves nothing behind", async () => {
  await using fixture = openFixture();
  expect(await outcome(fixture.service.prepare(ns, "missing", overlay, "key", "", {}))).toThrow(
    'lease "missing": not found',
  );
  expect(await Array.fromAsync(fixture.service.list(ns, overlay, []))).toEqual([]);
  await fixture.service.close();
  expect(readdirSync(`${fixture.root}/io.containerd.snapshotter.v1.overlayfs/snapshots`)).toEqual([]);
});

test("ids are mapped by mount options exactly where clients are told so, or both map them", async () => {
  await using fixture = openFixture();
  const labels = {
    "containerd.io/snapshot/uidmapping": "0:1000:10",
    "containerd.io/snapshot/gidmapping": "0:2000:10",
  };
  const [mount] = await fixture.service.prepare(ns, undefined, overlay, "a", "", labels);
  const isMapped = ["uidmap=0:1000:10", "gidmap=0:2000:10"].every((option) => mount?.options.includes(option));
  expect(isMapped).toBe(overlayCapabilities.includes("remap-ids"));
  expect(overlayCapabilities).toContain("only-remap-ids");
});

test("events name key, parent, name and snapshotter; a view has none", async () => {
  await using fixture = openFixture();
  const { service, events } = fixture;
  await service.prepare(ns, undefined, overlay, "a", "", {});
  await service.commit(ns, undefined, overlay, "layer", "a", {});
  await service.view(ns, undefined, overlay, "view", "layer", {});
  await service.prepare(ns, undefined, overlay, "b", "layer", {});
  await service.remove(ns, undefined, overlay, "b");
  expect(events).toEqual([
    '/snapshot/prepare {"key":"a","snapshotter":"overlayfs"}',
    '/snapshot/commit {"key":"a","name":"layer","snapshotter":"overlayfs"}',
    '/snapshot/prepare {"key":"b","parent":"layer","snapshotter":"overlayfs"}',
    '/snapshot/remove {"key":"b","snapshotter":"overlayfs"}',
  ]);
});

test("a reference to a snapshot that is there is AlreadyExists", async () => {
  await using fixture = openFixture();
  const { service } = fixture;
  await service.prepare(ns, undefined, overlay, "a", "", {});
  await service.commit(ns, undefined, overlay, "layer", "a", {});
  const labels = { "containerd.io/snapshot.ref": "layer" };
  expect(await outcome(service.prepare(ns, undefined, overlay, "b", "", labels))).toThrow(
    'target snapshot "layer": already exists',
  );
});

test("filters know name, parent, kind and labels", async () => {
  await using fixture = openFixture();
  const { service } = fixture;
  await service.prepare(ns, undefined, overlay, "a", "", {});
  await service.commit(ns, undefined, overlay, "layer", "a", { "x.y/z": "1" });
  await service.prepare(ns, undefined, overlay, "b", "layer", {});
  const names = async (...filters: string[]): Promise<string[]> =>
    (await Array.fromAsync(service.list(ns, overlay, filters))).map(({ name }) => name);
  expect(await names()).toEqual(["b", "layer"]);
  expect(await names("kind==active")).toEqual(["b"]);
  expect(await names("parent==layer")).toEqual(["b"]);
  expect(await names("name~=^lay")).toEqual(["layer"]);
  expect(await names('labels."x.y/z"==1', "kind==view")).toEqual(["layer"]);
});

test("many at once who want one key: one gets it", async () => {
  await using fixture = openFixture();
  const { service } = fixture;
  const made = await Promise.allSettled(
    Array.from({ length: 20 }, () => service.prepare(ns, undefined, overlay, "key", "", {})),
  );
  expect(made.filter(({ status }) => status === "fulfilled").length).toBe(1);
  const committed = await Promise.allSettled(
    Array.from({ length: 5 }, (_, i) => service.commit(ns, undefined, overlay, `name${i}`, "key", {})),
  );
  expect(committed.filter(({ status }) => status === "fulfilled").length).toBe(1);
  await fixture.service.close();
  expect(readdirSync(`${fixture.root}/io.containerd.snapshotter.v1.overlayfs/snapshots`).length).toBe(1);
});

test("a chain of 200 layers names every one, nearest first", async () => {
  await using fixture = openFixture();
  const { service } = fixture;
  for (let i = 0; i < 200; i++) {
    await service.prepare(ns, undefined, overlay, "key", i === 0 ? "" : `layer${i - 1}`, {});
    await service.commit(ns, undefined, overlay, `layer${i}`, "key", {});
  }
  const [mount] = await service.prepare(ns, undefined, overlay, "top", "layer199", {});
  const lower = mount?.options.find((option) => option.startsWith("lowerdir=")) ?? "";
  const ids = [...lower.matchAll(/snapshots\/(\d+)\/fs/g)].map(([, id]) => Number(id));
  expect(ids.length).toBe(200);
  expect(ids).toEqual(ids.toSorted((a, b) => b - a));
  expect(mount?.options.at(-1)).toBe("index=off");
});

test("commit on a parent that was chosen later", async () => {
  await using fixture = openFixture();
  const { service } = fixture;
  for (const name of ["low", "high"]) await service.prepare(ns, undefined, overlay, `${name}-key`, "", {});
  await service.commit(ns, undefined, overlay, "low", "low-key", {});
  expect(await outcome(service.commit(ns, undefined, overlay, "high", "high-key", {}, { parent: "none" }))).toThrow(
    "parent snapshot none does not exist: not found",
  );
  await service.commit(ns, undefined, overlay, "high", "high-key", {}, { parent: "low" });
  expect(await service.stat(ns, overlay, "high")).toMatchObject({ parent: "low", kind: Kind.Committed });
  const [mount] = await service.view(ns, undefined, overlay, "view", "high", {});
  expect(mount?.type).toBe("overlay");
  expect(await outcome(service.remove(ns, undefined, overlay, "low"))).toThrow("cannot remove snapshot with child");
});

test("usage is that of du, a file with two names counted once, and kept at commit", async () => {
  await using fixture = openFixture();
  const { service, root } = fixture;
  await service.prepare(ns, undefined, overlay, "key", "", {});
  const [mount] = await service.mounts(ns, overlay, "key");
  const files = mount?.source ?? "";
  mkdirSync(`${files}/d`);
  writeFileSync(`${files}/d/a`, "x".repeat(10_000));
  expect(Bun.spawnSync(["ln", `${files}/d/a`, `${files}/b`]).exitCode).toBe(0);
  const du = Number(Bun.spawnSync(["du", "-s", "--block-size=1", files]).stdout.toString().split("\t")[0]);
  expect(await service.usage(ns, overlay, "key")).toEqual({ size: du, inodes: 3 });
  await service.commit(ns, undefined, overlay, "name", "key", {});
  rmSync(`${files}/d`, { recursive: true });
  expect(await service.usage(ns, overlay, "name")).toEqual({ size: du, inodes: 3 });
  expect(root).toBe(fixture.root);
});

test("a commit syncs what can be synced, and waits for no FIFO", async () => {
  await using fixture = openFixture();
  const { service } = fixture;
  for (const count of [1, 30]) {
    const [mount] = await service.prepare(ns, undefined, overlay, "key", "", {});
    const files = mount?.source ?? "";
    mkdirSync(`${files}/directory`);
    for (let i = 0; i < count; i++) writeFileSync(`${files}/directory/${i}`, "x");
    for (const program of [
      ["mkfifo", `${files}/fifo`],
      ["ln", "-s", "/dev/zero", `${files}/link`],
      ["mknod", `${files}/device`, "c", "1", "5"],
    ]) {
      expect(Bun.spawnSync(program).exitCode).toBe(0);
    }
    await service.commit(ns, undefined, overlay, `name${count}`, "key", {});
    expect((await service.usage(ns, overlay, `name${count}`)).inodes).toBe(count + 5);
  }
});

test("a start removes directories without a record; a record without a directory can be removed", async () => {
  let fixture = openFixture();
  await using _ = { [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose]() };
  const directory = `${fixture.root}/io.containerd.snapshotter.v1.overlayfs/snapshots`;
  const [kept] = await fixture.service.prepare(ns, undefined, overlay, "kept", "", {});
  const [lost] = await fixture.service.prepare(ns, undefined, overlay, "lost", "", {});
  rmSync(lost?.source.replace("/fs", "") ?? "", { recursive: true });
  for (const name of ["77", "removed-3", "new-123"]) mkdirSync(`${directory}/${name}/fs`, { recursive: true });
  fixture = await fixture.reopen();
  await fixture.service.cleanup(overlay);
  expect(existsSync(kept?.source ?? "")).toBe(true);
  expect(readdirSync(directory)).toEqual([kept?.source.split("/").at(-2) ?? ""]);
  // What is damaged can be removed.
  await fixture.service.remove(ns, undefined, overlay, "lost");
  // Ids of what was swept are not used again.
  const [next] = await fixture.service.prepare(ns, undefined, overlay, "next", "", {});
  expect(Number(next?.source.split("/").at(-2))).toBeGreaterThan(77);
});

test("a directory goes only when it is on disk that no record has it", async () => {
  await using fixture = openFixture();
  const { service, database, root } = fixture;
  await service.prepare(ns, undefined, overlay, "key", "", {});
  const id = database.get<{ id: number }>("SELECT id FROM trees")?.id;
  const path = `${root}/io.containerd.snapshotter.v1.overlayfs/snapshots/${id}`;
  const synced = Promise.withResolvers<void>();
  const held = spyOn(database, "durable").mockImplementation(() => synced.promise);
  const removed = service.remove(ns, undefined, overlay, "key");
  const cleaned = service.cleanup(overlay);
  await Bun.sleep(50);
  expect(existsSync(path)).toBe(true);
  synced.resolve();
  await Promise.all([removed, cleaned]);
  held.mockRestore();
  await service.cleanup(overlay);
  expect(existsSync(path)).toBe(false);
});

test("what is mounted on the directory of a snapshot is not emptied with it", async () => {
  await using fixture = openFixture();
  const { service, database, root } = fixture;
  await service.prepare(ns, undefined, overlay, "key", "", {});
  const id = database.get<{ id: number }>("SELECT id FROM trees")?.id;
  const path = `${root}/io.containerd.snapshotter.v1.overlayfs/snapshots/${id}`;
  mkdirSync(`${root}/precious`);
  writeFileSync(`${root}/precious/file`, "");
  expect(Bun.spawnSync(["mount", "--bind", `${root}/precious`, path]).exitCode).toBe(0);
  try {
    await service.remove(ns, undefined, overlay, "key");
    await service.cleanup(overlay);
    expect(existsSync(`${root}/precious/file`)).toBe(true);
    expect(existsSync(path)).toBe(false);
  } finally {
    Bun.spawnSync(["umount", path]);
  }
});

test("a snapshot that is made while the collector marks, and needed by its own label alone, stays", async () => {
  await using fixture = openFixture();
  const { service, database } = fixture;
  const nothing = async (): Promise<void> => undefined;
  const collector = new Collector({
    database,
    publisher: { publish: () => undefined },
    content: { hasWriter: () => false },
    waste: { removeBlobs: nothing, removeIngests: nothing, sweep: nothing, sweepIngests: nothing },
    snapshots: service,
    policy: { pauseThreshold: 0.5, deletionThreshold: 0, mutationThreshold: 0, scheduleDelay: 0, startupDelay: 1e9 },
    sliceMs: 0,
  });
  // At any of the moments at which the collector lets others work.
  for (let pauses = 0; pauses < 40; pauses++) {
    const collected = collector.collect();
    for (let pause = 0; pause < pauses; pause++) await new Promise((resolve) => setImmediate(resolve));
    await service.prepare(ns, undefined, overlay, `key${pauses}`, "", { "containerd.io/gc.root": "now" });
    await collected;
    expect(await service.stat(ns, overlay, `key${pauses}`)).toMatchObject({ name: `key${pauses}` });
  }
  await collector.close();
});

test("what is needed again in the moment of its removal keeps what it refers to", async () => {
  await using fixture = openFixture();
  const { service, database } = fixture;
  const nothing = async (): Promise<void> => undefined;
  await service.prepare(ns, undefined, overlay, "target", "", {});
  await service.prepare(ns, undefined, overlay, "again", "", { "containerd.io/gc.ref.snapshot.overlayfs": "target" });
  // Both are garbage when the collector has looked; then a client labels one of them.
  const collect: typeof service.collect = async (namespace, snapshotter, key, stillUnused) => {
    const labels = { "containerd.io/gc.root": "now", "containerd.io/gc.ref.snapshot.overlayfs": "target" };
    if (key === "again") await service.update(ns, overlay, "again", labels, []);
    else await outcome(collecting.promise);
    const removed = service.collect(namespace, snapshotter, key, stillUnused);
    if (key === "again") collecting.resolve(removed);
    return removed;
  };
  const collecting = Promise.withResolvers<boolean>();
  const collector = new Collector({
    database,
    publisher: { publish: () => undefined },
    content: { hasWriter: () => false },
    waste: { removeBlobs: nothing, removeIngests: nothing, sweep: nothing, sweepIngests: nothing },
    snapshots: { names: service.names, collect },
    policy: { pauseThreshold: 0.5, deletionThreshold: 0, mutationThreshold: 0, scheduleDelay: 0, startupDelay: 1e9 },
  });
  await collector.collect();
  expect(await collecting.promise).toBe(false);
  expect(await service.stat(ns, overlay, "target")).toMatchObject({ name: "target" });
  await collector.close();
});

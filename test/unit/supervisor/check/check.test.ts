import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { checkAll, checkLive } from "../../../../supervisor/check/check.ts";
import { lineOf } from "../../../../supervisor/check/finding.ts";
import { type CheckRecords, readRecords } from "../../../../supervisor/check/records.ts";
import { processName } from "../../../../supervisor/network/alive.ts";
import { cniContainerId, saveAttachment } from "../../../../supervisor/network/attachments.ts";
import { networkPaths, writeSettings } from "../../../../supervisor/network/paths.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { migrations } from "../../../../supervisor/store/schema.ts";

const none: CheckRecords = {
  ...{ blobs: [], suspects: [], ingests: [], images: [], containers: [], snapshots: [], trees: [] },
};

let base = "";
let root = "";
let state = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "berth-check-"));
  root = join(base, "root");
  state = join(base, "state");
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

function file(path: string, content = ""): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

function blob(content: string, digest = `sha256:${new Bun.CryptoHasher("sha256").update(content).digest("hex")}`) {
  file(join(root, "io.containerd.content.v1.content/blobs/sha256", digest.slice(7)), content);
  return { namespace: "default", digest, size: content.length };
}

async function find(records: Partial<CheckRecords>, verify = false): Promise<string[]> {
  const found = await checkAll({ ...none, ...records }, { root, state, verify });
  return found.map(lineOf).map((line) => line.replaceAll(base, ""));
}

test("an empty daemon is right, also before it has made a directory", async () => {
  expect(await find({})).toEqual([]);
});

test("the queries are those of the schema", () => {
  mkdirSync(root, { recursive: true });
  const database = new Database(join(root, "berth.db"), migrations);
  expect(readRecords(database)).toEqual(none);
  database.close();
});

test("blobs: there, missing, cut off, changed, without a record, damaged", async () => {
  const [good, cut, changed, extra, bad] = [blob("good"), blob("cut off"), blob("one"), blob("extra"), blob("bad")];
  const missing = { namespace: "default", digest: `sha256:${"0".repeat(64)}`, size: 3 };
  const directory = join(root, "io.containerd.content.v1.content/blobs/sha256");
  writeFileSync(join(directory, cut.digest.slice(7)), "cut");
  writeFileSync(join(directory, changed.digest.slice(7)), "two");
  const records = {
    blobs: [good, { ...good, namespace: "moby" }, cut, changed, missing, bad],
    suspects: [{ digest: bad.digest, state: 2 }],
  };
  const found = await find(records);
  expect(found).toEqual([
    `error: content default/${missing.digest}: its file /root/io.containerd.content.v1.content/blobs/sha256/${"0".repeat(64)} is missing: fetch it again`,
    expect.stringMatching(/^error: content default\/sha256:\w+: its file has 3 bytes instead of 7: fetch it again$/),
    `error: content ${bad.digest}: is known to be damaged, and answered as not found: fetch it again`,
    `note: content ${extra.digest}: has a file and no record: garbage, removed in time`,
  ]);
  const verified = await find(records, true);
  expect(verified.filter((line) => !found.includes(line))).toEqual([
    expect.stringContaining(`error: content default/${changed.digest}: its bytes are those of sha256:`),
  ]);
});

test("ingests without a directory, and directories without an ingest", async () => {
  file(join(root, "io.containerd.content.v1.content/ingest/aaa/data"));
  expect(await find({ ingests: [{ namespace: "default", ref: "layer-1", name: "bbb" }] })).toEqual([
    "note: content default/layer-1: the ingest has no directory bbb: it begins again when it is written to",
    "note: content ingest/aaa: has no record: garbage, removed in time",
  ]);
});

test("images without a blob, containers without a snapshot, snapshots without a parent", async () => {
  const there = { snapshotter: "stargz", namespace: "default", parent: "", kind: 2, backend: "" };
  expect(
    await find({
      images: [{ namespace: "default", name: "docker.io/x:1", digest: "sha256:1" }],
      containers: [
        { namespace: "default", id: "c1", snapshotter: "overlayfs", snapshot_key: "k", image: "" },
        { namespace: "default", id: "c2", snapshotter: "", snapshot_key: "", image: "" },
      ],
      snapshots: [
        { ...there, key: "a", parent: "b" },
        { ...there, key: "b" },
        { ...there, key: "c", parent: "d" },
      ],
    }),
  ).toEqual([
    "error: image default/docker.io/x:1: its blob sha256:1 is not there: pull it again, or remove it",
    "error: snapshot stargz/default/a: its parent b is not committed, and may change under it",
    "error: snapshot stargz/default/c: its parent d is not there",
    "note: container default/c1: its snapshot k of overlayfs is not there: a client has removed it, or never made it",
  ]);
});

test("snapshots against trees, trees against directories", async () => {
  const snapshots = join(root, "io.containerd.snapshotter.v1.overlayfs/snapshots");
  for (const path of ["1/fs", "2/fs", "2/work", "9/fs", "removed-3/fs"])
    mkdirSync(join(snapshots, path), { recursive: true });
  const row = { snapshotter: "overlayfs", namespace: "default", parent: "", kind: 3 };
  const tree = { snapshotter: "overlayfs", parent: null, kind: 3, synced: 1 };
  const found = await find({
    snapshots: [
      { ...row, key: "a", backend: "t1" },
      { ...row, key: "b", backend: "t2", kind: 2 },
      { ...row, key: "c", backend: "t3", kind: 2 },
      { ...row, key: "d", backend: "t4" },
    ],
    trees: [
      { ...tree, id: 1, key: "t1" },
      { ...tree, id: 2, key: "t2", parent: 1, kind: 2 },
      { ...tree, id: 3, key: "t3", parent: 7, kind: 2 },
      { ...tree, id: 4, key: "t5" },
    ],
  });
  const missing = (id: number, name: string): string =>
    `error: snapshot overlayfs/${id}: its directory /root/io.containerd.snapshotter.v1.overlayfs/snapshots/${id}/${name} is missing: remove the snapshot, and unpack again`;
  expect(found.sort()).toEqual(
    [
      "error: snapshot overlayfs/default/d: its tree t4 is not there: remove it, and unpack again",
      "error: snapshot overlayfs/3: its parent 7 is not there",
      missing(3, "fs"),
      missing(3, "work"),
      missing(4, "fs"),
      "note: snapshot overlayfs/4: is a tree of no snapshot: garbage, removed in time",
      "note: snapshot overlayfs/removed-3: is a directory without a record: waste, removed in time",
    ].sort(),
  );
});

test("layers that are not known to be on disk, and a container on one", async () => {
  const snapshots = join(root, "io.containerd.snapshotter.v1.overlayfs/snapshots");
  for (const path of ["1/fs", "2/fs", "3/fs", "3/work"]) mkdirSync(join(snapshots, path), { recursive: true });
  const row = { snapshotter: "overlayfs", namespace: "default", parent: "", kind: 3 };
  const tree = { snapshotter: "overlayfs", parent: null, kind: 3, synced: 1 };
  const container = { namespace: "default", snapshotter: "overlayfs", image: "" };
  const found = await find({
    containers: [
      { ...container, id: "on-it", snapshot_key: "c" },
      { ...container, id: "beside", snapshot_key: "b" },
    ],
    snapshots: [
      { ...row, key: "a", backend: "t1" },
      { ...row, key: "b", backend: "t2" },
      { ...row, key: "c", backend: "t3", kind: 2 },
    ],
    trees: [
      { ...tree, id: 1, key: "t1", synced: 0 },
      { ...tree, id: 2, key: "t2" },
      { ...tree, id: 3, key: "t3", parent: 1, kind: 2 },
    ],
  });
  expect(found).toEqual([
    "error: snapshot default/on-it: its container stands on tree 1, which is not known to be on disk",
    "note: snapshot overlayfs/1: is not on disk yet: it is synced, or after a power cut unpacked again",
  ]);
});

test("bundles: with a shim, with a dead one, without any; twins of none", async () => {
  const bundles = join(state, "io.containerd.runtime.v2.task/default");
  const socket = join(base, "shim.sock");
  const server = createServer();
  mkdirSync(base, { recursive: true });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  file(
    join(bundles, "alive/bootstrap.json"),
    JSON.stringify({ version: 3, address: `unix://${socket}`, protocol: "ttrpc" }),
  );
  file(
    join(bundles, "dead/bootstrap.json"),
    JSON.stringify({ version: 3, address: "unix:///nowhere", protocol: "ttrpc" }),
  );
  file(join(bundles, "old/address"), `unix://${socket}`);
  mkdirSync(join(bundles, "none"));
  for (const name of ["alive", "gone"])
    mkdirSync(join(root, "io.containerd.runtime.v2.task/default", name), { recursive: true });
  const container = { namespace: "default", snapshotter: "", snapshot_key: "", image: "" };
  const found = await find({
    containers: [
      { ...container, id: "alive", snapshotter: "stargz", snapshot_key: "k" },
      { ...container, id: "old" },
    ],
    snapshots: [{ snapshotter: "stargz", namespace: "default", key: "k", parent: "", kind: 2, backend: "" }],
  });
  await new Promise((resolve) => server.close(resolve));
  expect(found.sort()).toEqual([
    "error: mount default/alive: /state/io.containerd.runtime.v2.task/default/alive/rootfs is not mounted, though the container has a snapshot",
    "error: task default/dead: its shim does not answer at ttrpc unix:///nowhere; the daemon cleans up when it starts",
    "error: task default/none: its bundle says nothing of a shim; the daemon cleans up when it starts",
    "note: task default/gone: /root/io.containerd.runtime.v2.task/default/gone belongs to no bundle: waste, removed in time",
  ]);
});

test("under a daemon that works, only what lasts counts", async () => {
  const passing = { namespace: "default", name: "passing", digest: "sha256:1" };
  const lasting = { namespace: "default", name: "lasting", digest: "sha256:2" };
  const looks: CheckRecords[] = [
    { ...none, images: [passing, lasting] },
    { ...none, images: [lasting, { ...passing, name: "new" }] },
  ];
  let look = 0;
  const { findings } = await checkLive(async () => looks[look++] ?? none, { root, state, verify: false }, 1);
  expect(findings.map(({ subject }) => subject)).toEqual(["default/lasting"]);
});

test("networks: a container that has ended and still holds its address", async () => {
  const paths = { ...networkPaths(root), confDir: join(base, "net.d") };
  writeSettings(root, paths);
  const attachment = {
    ...{ namespace: "default", id: "web", containerId: cniContainerId(paths, "default", "web"), netns: "/none" },
    ...{ created: "2026-11-30T00:00:00Z", networks: [], problem: "bridge: exit status 1" },
    request: { networks: [{ name: "berth" }], ports: [], hostname: "web" },
  };
  const own = processName(process.pid);
  if (own === undefined) throw new Error("this process does not run");
  saveAttachment(paths, { ...attachment, ...own });
  expect(await find({})).toEqual([]);
  saveAttachment(paths, { ...attachment, ...own, startTime: "1" });
  expect(await find({})).toEqual([
    "error: network default/web: it has ended and its network is not released (bridge: exit status 1): the daemon releases it at its next start",
  ]);
});

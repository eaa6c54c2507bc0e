import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Code } from "../../../../proto/ttrpc/status.ts";
import { Backup } from "../../../../supervisor/store/backup.ts";
import { Containers } from "../../../../supervisor/store/containers.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { Images } from "../../../../supervisor/store/images.ts";
import { Leases } from "../../../../supervisor/store/leases.ts";
import { namesPath } from "../../../../supervisor/store/names.ts";
import { Namespaces } from "../../../../supervisor/store/namespaces.ts";
import { BACKUP, openDatabase } from "../../../../supervisor/store/open.ts";
import { diskFull, isCreating } from "../../../../supervisor/store/reserve.ts";
import { migrations } from "../../../../supervisor/store/schema.ts";
import { textOf } from "../../../lib/api/transcript.ts";
import { outcome, rejection } from "../../../lib/outcome.ts";

let root: string;
let lines: string[];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "berth-rebuild-"));
  lines = [];
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

const write = (message: string, fields?: object): unknown => lines.push(`${message} ${JSON.stringify(fields)}`);
const open = (): Promise<Database> =>
  openDatabase({ root, state: join(root, "state"), log: { warn: write, info: write } });
const path = (): string => join(root, "berth.db");

function stores(database: Database) {
  const publisher = { publish: () => undefined };
  const collector = { schedule: () => undefined };
  const namespaces = new Namespaces(database, publisher);
  const leases = new Leases({ database, namespaces, collector });
  return {
    namespaces,
    leases,
    images: new Images({ database, publisher, namespaces, leases, collector }),
    containers: new Containers({ database, publisher, namespaces, collector }),
  };
}

const layerType = "application/vnd.oci.image.layer.v1.tar+gzip";

/** Puts a blob on disk. @returns its descriptor */
function blob(mediaType: string, bytes: string) {
  const hex = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  const file = join(root, "io.containerd.content.v1.content/blobs/sha256", hex);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes);
  return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
}

function image() {
  const config = blob("application/vnd.oci.image.config.v1+json", "{}");
  const layer = blob(layerType, "layer");
  const type = "application/vnd.oci.image.manifest.v1+json";
  return {
    config,
    layer,
    target: blob(type, JSON.stringify({ schemaVersion: 2, mediaType: type, config, layers: [layer] })),
  };
}

const spec = { type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec", value: new Uint8Array([123, 125]) };

/** Fills a database with things, and closes it. */
async function fill(count = 50): Promise<void> {
  const database = await open();
  const { images, containers, leases, namespaces } = stores(database);
  await namespaces.create("n1", { a: "b" });
  const { target } = image();
  for (let n = 0; n < count; n++) {
    await images.create("n1", { name: `image-${n}`, target, labels: { n: String(n) } });
    await containers.create("n1", { id: `c${n}`, runtime: { name: "r" }, spec, image: "x".repeat(500) });
  }
  await leases.create("n1", "l1", {});
  await leases.addResource("n1", "l1", { type: "content", id: target.digest });
  database.close();
}

test("a first start makes a database and says nothing", async () => {
  (await open()).close();
  expect(lines).toEqual([]);
  (await open()).close();
  expect(lines).toEqual([]);
  expect(readdirSync(root).sort()).toEqual(["berth.db", "berth.db-wal", "berth.db.reserve"]);
});

test("a database of a later version is refused and stays", async () => {
  const database = await open();
  database.run(`PRAGMA user_version = ${migrations.length + 1}`);
  database.close();
  expect(await outcome(open())).toThrow("install the newer berthd again");
  expect(readdirSync(root)).toContain("berth.db");
  expect(readdirSync(root).some((name) => name.includes("damaged"))).toBe(false);
});

test("R26 pages in the middle are overwritten: what can be read is kept, the file is moved aside", async () => {
  await fill(300);
  rmSync(`${path()}-wal`, { force: true });
  const { size } = statSync(path());
  const file = openSync(path(), "r+");
  for (const at of [0.5, 0.7])
    writeSync(file, Buffer.alloc(8192, 0xa5), 0, 8192, Math.floor((size * at) / 4096) * 4096);
  const database = await open();
  expect(lines.some((line) => line.startsWith("the database is damaged"))).toBe(true);
  expect(lines.some((line) => line.startsWith("the database was built anew"))).toBe(true);
  expect(readdirSync(root).some((name) => name.startsWith("berth.db.damaged-"))).toBe(true);
  const { images, containers } = stores(database);
  expect(images.list("n1").length + containers.list("n1").length).toBeGreaterThan(300);
  database.close();
  lines.length = 0;
  (await open()).close();
  expect(lines).toEqual([]);
});

for (const [what, damage] of Object.entries({
  "cut in half": () => truncateSync(path(), Math.floor(statSync(path()).size / 2 / 4096) * 4096),
  "cut within a page": () => truncateSync(path(), 4096 * 3 + 100),
  "of zero length": () => truncateSync(path(), 0),
  gone: () => rmSync(path()),
  "no database": () =>
    writeFileSync(path(), "this is no database, but a text that is long enough to be looked at\n".repeat(200)),
  "a database with an overwritten header": () => writeSync(openSync(path(), "r+"), Buffer.alloc(200, 1), 0, 200, 0),
})) {
  test(`R26 a database that is ${what} is rebuilt from the copy, with every image and container`, async () => {
    await fill();
    const database = await open();
    const backup = new Backup({
      database,
      path: join(root, BACKUP),
      namesPath: namesPath(root),
      onError: (error) => {
        throw error;
      },
    });
    await backup.now();
    await backup.close();
    database.close();
    // The log may have all of it, and would give it back.
    rmSync(`${path()}-wal`, { force: true });
    damage();
    const rebuilt = await open();
    const { images, containers, leases, namespaces } = stores(rebuilt);
    expect(images.list("n1")).toHaveLength(50);
    expect(images.get("n1", "image-7").labels).toEqual({ n: "7" });
    expect(containers.list("n1")).toHaveLength(50);
    expect(namespaces.list()).toEqual([{ name: "n1", labels: { a: "b" } }]);
    expect(leases.resources("n1", "l1")).toHaveLength(1);
    // The content store makes rows of its own; here they come from the images' manifests alone.
    expect(rebuilt.all("SELECT digest FROM blobs")).toHaveLength(3);
    expect(lines.at(-1)).toContain('"images":50');
    rebuilt.close();
  });
}

/** Leaves a database whose rows can all be read, but that is not as it must be. */
async function fillDamaged(): Promise<void> {
  await fill(20);
  const database = new Database(path(), migrations);
  database.run("DROP INDEX blobs_by_digest");
  database.close();
}

/** A rebuild that ends as by a power cut, when some or none of the rows are in the new file. */
async function cutOff(): Promise<void> {
  const durable = spyOn(Database.prototype, "durable").mockRejectedValueOnce(new Error("power cut"));
  expect(await outcome(open())).toThrow("power cut");
  durable.mockRestore();
  for (const end of ["", "-wal"]) rmSync(path() + end, { force: true });
  new Database(path(), migrations).close();
}

test("R26 a rebuild that is cut off begins again: what it has made so far is not taken for all there is", async () => {
  await fillDamaged();
  await cutOff();
  const rebuilt = await open();
  expect(stores(rebuilt).images.list("n1")).toHaveLength(20);
  rebuilt.close();
  lines.length = 0;
  (await open()).close();
  expect(lines).toEqual([]);
  expect(readdirSync(root).filter((name) => name.includes("damaged"))).toHaveLength(1);
});

test("R26 a rebuild of a database that is gone begins again, too, when it is cut off", async () => {
  await fill(1);
  const copy = new Database(join(root, BACKUP), migrations);
  await stores(copy).images.create("n1", { name: "i", target: image().target });
  copy.close();
  for (const end of ["", "-wal"]) rmSync(path() + end);
  await cutOff();
  await cutOff();
  const rebuilt = await open();
  expect(stores(rebuilt).images.list("n1")).toHaveLength(1);
  expect(rebuilt.all("SELECT digest FROM blobs")).toHaveLength(3);
  rebuilt.close();
});

test("R26 a damaged database is moved aside as a whole, also when that is cut off in the middle", async () => {
  await fillDamaged();
  // The log has gone, the file itself has not.
  writeFileSync(`${path()}.rebuilding`, `${path()}.damaged-then`);
  renameSync(`${path()}-wal`, `${path()}.damaged-then-wal`);
  const rebuilt = await open();
  expect(stores(rebuilt).images.list("n1")).toHaveLength(20);
  expect(readdirSync(root)).toContain("berth.db.damaged-then");
  expect(readdirSync(root)).not.toContain("berth.db.rebuilding");
  rebuilt.close();
});

test("R26 a rebuild for which the disk has no room fails, and leaves no row out", async () => {
  await fillDamaged();
  const { run } = Database.prototype;
  const full = spyOn(Database.prototype, "run").mockImplementation(function (this: Database, sql, ...bindings) {
    if (isCreating(sql)) throw diskFull(path());
    return run.call(this, sql, ...bindings);
  });
  expect(await rejection(open())).toMatchObject({ code: Code.ResourceExhausted });
  full.mockRestore();
  const rebuilt = await open();
  expect(stores(rebuilt).images.list("n1")).toHaveLength(20);
  rebuilt.close();
});

test("blobs of an image get the labels that keep its configuration and layers", async () => {
  await fill(1);
  rmSync(path());
  const { target, config, layer } = image();
  const database = new Database(join(root, BACKUP), migrations);
  await stores(database).images.create("n1", { name: "i", target });
  database.close();
  const rebuilt = await open();
  const row = rebuilt.get<{ labels: string }>("SELECT labels FROM blobs WHERE digest = ?", target.digest);
  expect(JSON.parse(row?.labels ?? "")).toEqual({
    "containerd.io/gc.ref.content.config": config.digest,
    "containerd.io/gc.ref.content.l.0": layer.digest,
  });
  rebuilt.close();
});

test("indexes that name each other many times cost no more than they are", async () => {
  const type = "application/vnd.oci.image.index.v1+json";
  let target = image().target;
  for (let level = 0; level < 6; level++) {
    target = blob(type, JSON.stringify({ schemaVersion: 2, mediaType: type, manifests: Array(40).fill(target) }));
  }
  const copy = new Database(join(root, BACKUP), migrations);
  await stores(copy).images.create("n1", { name: "i", target });
  copy.close();
  const started = performance.now();
  const rebuilt = await open();
  expect(rebuilt.all("SELECT digest FROM blobs")).toHaveLength(9);
  expect(performance.now() - started).toBeLessThan(5000);
  rebuilt.close();
});

test("with the copy lost too, images have their names and labels from the file beside the blobs", async () => {
  await fill(3);
  const database = await open();
  const options = { path: join(root, BACKUP), namesPath: namesPath(root), onError: () => undefined };
  const backup = new Backup({ database, ...options });
  const { images } = stores(database);
  await images.create("n2", { name: "lost", target: { ...image().target, digest: `sha256:${"0".repeat(64)}` } });
  const before = images.list("n1").map((kept) => textOf(kept));
  await backup.close();
  database.close();
  for (const file of readdirSync(root)) if (file.startsWith("berth.db")) rmSync(join(root, file));
  writeFileSync(namesPath(root), '{"namespace":"n1","name":"half', { flag: "a" });
  const rebuilt = await open();
  const { images: found } = stores(rebuilt);
  expect(found.list("n1").map((kept) => textOf(kept))).toEqual(before);
  expect(found.list("n2")).toEqual([]);
  expect(rebuilt.all("SELECT digest FROM blobs")).toHaveLength(3);
  rebuilt.close();
});

test("containers come back from their bundles, and snapshots from their directories, when all else is lost", async () => {
  const snapshots = join(root, "io.containerd.snapshotter.v1.overlayfs/snapshots");
  for (const id of [3, 4]) mkdirSync(join(snapshots, `${id}/fs`), { recursive: true });
  writeFileSync(join(snapshots, "3/fs/file"), "");
  const bundle = join(root, "state/io.containerd.runtime.v2.task/n1/c1");
  mkdirSync(bundle, { recursive: true });
  writeFileSync(join(bundle, "config.json"), '{"ociVersion":"1.1.0"}');
  writeFileSync(join(bundle, "shim-binary-path"), "/usr/bin/containerd-shim-runc-v2");
  utimesSync(join(bundle, "config.json"), 1e9, 1e9);
  const database = await open();
  const { containers, namespaces } = stores(database);
  const container = containers.get("n1", "c1");
  expect(container.runtime?.name).toBe("io.containerd.runc.v2");
  expect(new TextDecoder().decode(container.spec?.value ?? undefined)).toBe('{"ociVersion":"1.1.0"}');
  expect(Number(container.createdAt?.seconds)).toBe(1e9);
  expect(database.all<{ key: string; namespace: string }>("SELECT namespace, key FROM snapshots")).toEqual([
    { namespace: "default", key: "rebuilt-3" },
  ]);
  expect(namespaces.list().map(({ name }) => name)).toEqual(["default", "n1"]);
  database.close();
});

test("layers from the copy count as on disk under a container; of the others no boot is known", async () => {
  const database = await open();
  const { containers } = stores(database);
  const trees: [id: number, parent: number | null, kind: number, synced: number][] = [
    [1, null, 3, 0],
    [2, 1, 2, 1],
    [3, null, 3, 0],
  ];
  for (const [id, parent, kind, synced] of trees) {
    mkdirSync(join(root, `io.containerd.snapshotter.v1.overlayfs/snapshots/${id}/fs`), { recursive: true });
    database.run(
      `INSERT INTO trees (id, snapshotter, key, parent, kind, size, inodes, created_at, updated_at, labels, synced)
       VALUES (?1, 'overlayfs', 'n1/' || ?1 || '/s', ?2, ?3, 0, 0, 0, 0, '{}', ?4)`,
      ...[id, parent, kind, synced],
    );
    database.run(
      `INSERT INTO snapshots (snapshotter, namespace, key, parent, kind, backend, created_at, updated_at, labels)
       VALUES ('overlayfs', 'n1', 's' || ?1, ?2, ?3, 'n1/' || ?1 || '/s', 0, 0, '{}')`,
      ...[id, parent === null ? "" : `s${parent}`, kind],
    );
  }
  database.run("INSERT INTO boots (id) VALUES ('this one')");
  await containers.create("n1", { id: "c", runtime: { name: "r" }, spec, snapshotter: "overlayfs", snapshotKey: "s2" });
  const onError = (error: unknown): never => {
    throw error;
  };
  const backup = new Backup({ database, path: join(root, BACKUP), namesPath: namesPath(root), onError });
  await backup.now();
  await backup.close();
  database.close();
  for (const end of ["", "-wal"]) rmSync(path() + end);
  const rebuilt = await open();
  const rows = rebuilt.all<{ id: number; synced: number }>("SELECT id, synced FROM trees ORDER BY id");
  expect(rows.map(({ id, synced }) => [id, synced])).toEqual([
    [1, 1],
    [2, 1],
    [3, 0],
  ]);
  expect(rebuilt.all("SELECT id FROM boots")).toEqual([]);
  rebuilt.close();
});

test("the copy follows changes after its delay, and a change of images sooner", async () => {
  const database = await open();
  const { namespaces } = stores(database);
  const backup = new Backup({
    database,
    path: join(root, BACKUP),
    namesPath: namesPath(root),
    onError: () => undefined,
    laterMs: 60_000,
    soonMs: 20,
  });
  await namespaces.create("n1", {});
  await Bun.sleep(60);
  expect(readdirSync(root)).not.toContain(BACKUP);
  backup.soon();
  for (let n = 0; n < 50 && !readdirSync(root).includes(BACKUP); n++) await Bun.sleep(20);
  expect(readdirSync(root)).toContain(BACKUP);
  await namespaces.create("n2", {});
  await backup.close();
  database.close();
  const copy = new Database(join(root, BACKUP), migrations);
  expect(stores(copy).namespaces.list()).toHaveLength(2);
  copy.close();
});

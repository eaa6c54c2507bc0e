/** The mount manager: transformations, loops, leases, and what a crash leaves. Makes mounts in a directory of its own. */

import { afterEach, beforeEach, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mountsBelow } from "../../../../shim/linux/index.ts";
import { Activations } from "../../../../supervisor/snapshot/activation/activations.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { Leases } from "../../../../supervisor/store/leases.ts";
import { Namespaces } from "../../../../supervisor/store/namespaces.ts";
import { migrations } from "../../../../supervisor/store/schema.ts";
import { whyNoLoop } from "../../../lib/loop.ts";
import { outcome } from "../../../lib/outcome.ts";
import { testUnless } from "../../../lib/skip.ts";

// The machine may be busy with other things.
setDefaultTimeout(30_000);

const ns = "default";
const plain = { labels: {}, temporary: false };
let dir: string;
let database: Database;
let leases: Leases;
let activations: Activations;

function open(): void {
  database = new Database(join(dir, "berth.db"), migrations);
  const namespaces = new Namespaces(database, { publish: () => undefined });
  leases = new Leases({ database, namespaces, collector: { schedule: () => undefined } });
  const log = { warn: (message: string, fields?: unknown) => console.error(message, fields) };
  activations = new Activations({ database, leases, namespaces, directory: join(dir, "t"), roots: [dir], log });
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "berth-mounts-"));
  open();
});

afterEach(async () => {
  for (const { name } of activations.list(ns, [])) await activations.deactivate(ns, name);
  expect(mountsBelow(dir)).toEqual([]);
  database.close();
  rmSync(dir, { recursive: true });
});

const mount = (type: string, source: string, ...options: string[]) => ({ type, source, target: "", options });

/** A tree with one file. */
function makeTree(name: string): string {
  mkdirSync(join(dir, name));
  writeFileSync(join(dir, name, name), name);
  return join(dir, name);
}

test("mounts that the client can make are left to it", async () => {
  expect(await outcome(activations.activate(ns, undefined, "a", [mount("bind", dir, "rbind")], plain))).toThrow(
    "not implemented",
  );
  expect(activations.list(ns, [])).toEqual([]);
});

test("format fills in where earlier mounts are; the last is the client's", async () => {
  const [a, b] = [makeTree("a"), makeTree("b")];
  const info = await activations.activate(
    ns,
    undefined,
    "over",
    [
      mount("bind", a, "rbind", "ro"),
      mount("bind", b, "rbind", "ro"),
      mount("format/overlay", "overlay", "lowerdir={{ overlay 0 1 }}", "x={{ source 1 }}"),
    ],
    { labels: { l: "1" }, temporary: false },
  );
  const points = info.active.map(({ mountPoint }) => mountPoint ?? "");
  expect(points.map((point, i) => readFileSync(join(point, i === 0 ? "a" : "b"), "utf8"))).toEqual(["a", "b"]);
  expect(info.system[0]?.type).toBe("overlay");
  expect(info.system[0]?.options).toEqual([`lowerdir=${points.join(":")}`, `x=${b}`]);
  expect(await outcome(activations.activate(ns, undefined, "over", [mount("format/bind", a)], plain))).toThrow(
    'mount "over": already exists',
  );
  expect(activations.list(ns, ["labels.l==1"]).map(({ name }) => name)).toEqual(["over"]);
  await activations.deactivate(ns, "over");
  expect(readdirSync(join(dir, "t"))).toEqual([]);
  expect(await outcome(activations.deactivate(ns, "over"))).toThrow('missing mount "over" bucket: not found');
  expect(() => activations.info(ns, "over")).toThrow('mount "over" not found');
});

test("a temporary activation makes everything, and leaves a bind of the last", async () => {
  const info = await activations.activate(ns, undefined, "t", [mount("bind", makeTree("a"), "rbind")], {
    labels: {},
    temporary: true,
  });
  const [made] = info.active;
  expect(info.system.map(({ type, source }) => [type, source])).toEqual([["bind", made?.mountPoint ?? ""]]);
  expect(existsSync(join(made?.mountPoint ?? "", "a"))).toBe(true);
});

test("mkdir makes directories within the roots alone", async () => {
  const info = await activations.activate(
    ns,
    undefined,
    "m",
    [mount("format/mkdir/overlay", "overlay", `X-containerd.mkdir.path=${dir}/up:0711`, `upperdir=${dir}/up`)],
    plain,
  );
  expect(info.system[0]?.options).toEqual([`upperdir=${dir}/up`]);
  expect(existsSync(`${dir}/up`)).toBe(true);
  for (const path of ["/tmp/outside-of-berth", `${dir}/../x`, "relative", `${dir}/..`]) {
    expect(
      await outcome(
        activations.activate(ns, undefined, "n", [mount("mkdir/bind", dir, `X-containerd.mkdir.path=${path}`)], plain),
      ),
    ).toThrow(/no root found for mkdir path/);
  }
  expect(activations.list(ns, []).map(({ name }) => name)).toEqual(["m"]);
});

test("links do not lead mkdir out of the roots", async () => {
  const outside = mkdtempSync(join(tmpdir(), "berth-outside-"));
  symlinkSync(outside, `${dir}/link`);
  const options = `X-containerd.mkdir.path=${dir}/link:0700:12:34`;
  expect(await outcome(activations.activate(ns, undefined, "n", [mount("mkdir/bind", dir, options)], plain))).toThrow();
  expect(
    await outcome(activations.activate(ns, undefined, "n", [mount("format/mkdir/bind", dir, options)], plain)),
  ).toThrow(/no root found for mkdir path/);
  expect(statSync(outside).uid).toBe(0);
  rmSync(outside, { recursive: true });
});

test("a mount that fails leaves nothing", async () => {
  expect(
    await outcome(
      activations.activate(ns, undefined, "x", [mount("bind", makeTree("a"), "rbind"), mount("nosuchfs", "none")], {
        labels: {},
        temporary: true,
      }),
    ),
  ).toThrow(/mount failed nosuchfs none/);
  expect(activations.list(ns, [])).toEqual([]);
  expect(readdirSync(join(dir, "t"))).toEqual([]);
});

test("an activation ends with its lease", async () => {
  await leases.create(ns, "lease", {});
  await activations.activate(ns, "lease", "l", [mount("bind", makeTree("a"), "rbind")], {
    labels: {},
    temporary: true,
  });
  expect(mountsBelow(dir).length).toBe(1);
  await leases.delete(ns, "lease");
  for (let i = 0; i < 100 && readdirSync(join(dir, "t")).length > 0; i++) await Bun.sleep(20);
  expect(mountsBelow(dir)).toEqual([]);
  expect(activations.list(ns, [])).toEqual([]);
});

const temporary = { labels: {}, temporary: true };

test("an activation that is begun is not taken for one that a crash has left", async () => {
  const synced = Promise.withResolvers<void>();
  const held = spyOn(database, "durable").mockImplementationOnce(() => synced.promise);
  const made = activations.activate(ns, undefined, "a", [mount("bind", makeTree("a"), "rbind")], temporary);
  expect(await outcome(activations.deactivate(ns, "a"))).toThrow('missing mount "a" bucket: not found');
  await activations.recover();
  synced.resolve();
  held.mockRestore();
  await made;
  expect(activations.list(ns, []).map(({ name }) => name)).toEqual(["a"]);
});

test("an activation whose lease ends while it is made ends, too", async () => {
  await leases.create(ns, "lease", {});
  const synced = Promise.withResolvers<void>();
  spyOn(database, "durable").mockImplementationOnce(() => synced.promise);
  const made = activations.activate(ns, "lease", "a", [mount("bind", makeTree("a"), "rbind")], temporary);
  await leases.delete(ns, "lease");
  synced.resolve();
  await made;
  for (let i = 0; i < 100 && readdirSync(join(dir, "t")).length > 0; i++) await Bun.sleep(20);
  expect(activations.list(ns, [])).toEqual([]);
  expect(mountsBelow(dir)).toEqual([]);
});

test("an activation ends with its namespace", async () => {
  const namespaces = new Namespaces(database, { publish: () => undefined });
  await namespaces.create("other", {});
  await activations.activate("other", undefined, "a", [mount("bind", makeTree("a"), "rbind")], temporary);
  await namespaces.delete("other");
  for (let i = 0; i < 100 && readdirSync(join(dir, "t")).length > 0; i++) await Bun.sleep(20);
  expect(activations.list("other", [])).toEqual([]);
  expect(mountsBelow(dir)).toEqual([]);
});

test("a start takes away what is not whole", async () => {
  const tree = makeTree("a");
  for (const name of ["whole", "unmounted", "unfinished"]) {
    await activations.activate(ns, undefined, name, [mount("bind", tree, "rbind")], { labels: {}, temporary: true });
  }
  const point = activations.info(ns, "unmounted").active[0]?.mountPoint ?? "";
  Bun.spawnSync(["umount", point]);
  database.run("UPDATE mounts SET record = x'' WHERE name = 'unfinished'");
  await activations.activate(ns, undefined, "forgotten", [mount("bind", tree, "rbind")], {
    labels: {},
    temporary: true,
  });
  database.run("DELETE FROM mounts WHERE name = 'forgotten'");
  expect(mountsBelow(dir).length).toBe(3);
  database.close();
  open();
  await activations.recover();
  expect(activations.list(ns, []).map(({ name }) => name)).toEqual(["whole"]);
  expect(mountsBelow(dir).length).toBe(1);
});

const noLoop = whyNoLoop();
testUnless(
  noLoop,
  "a file system in a file, by mkfs, a loop and a format",
  async () => {
    const info = await activations.activate(
      ns,
      undefined,
      "disk",
      [
        mount("mkfs/loop", `${dir}/image`, "X-containerd.mkfs.size=16MiB", "X-containerd.mkfs.fs=ext4"),
        mount("format/ext4", "{{ mount 0 }}"),
        mount("format/bind", "{{ mount 1 }}/lost+found", "rbind"),
      ],
      plain,
    );
    const [loop, disk] = info.active;
    const device = readlinkSync(loop?.mountPoint ?? "");
    expect(device).toMatch(/^\/dev\/loop\d+$/);
    expect(existsSync(join(disk?.mountPoint ?? "", "lost+found"))).toBe(true);
    await activations.deactivate(ns, "disk");
    expect(Bun.spawnSync(["losetup", device]).exitCode).not.toBe(0);
  },
  20_000,
);

testUnless(
  noLoop,
  "mkfs writes through no link",
  async () => {
    writeFileSync(`${dir}/precious`, "precious");
    symlinkSync(`${dir}/precious`, `${dir}/image.new`);
    const disk = mount("mkfs/loop", `${dir}/image`, "X-containerd.mkfs.size=16MiB");
    await activations.activate(ns, undefined, "disk", [disk, mount("format/ext4", "{{ mount 0 }}")], plain);
    await activations.deactivate(ns, "disk");
    expect(readFileSync(`${dir}/precious`, "utf8")).toBe("precious");
  },
  20_000,
);

testUnless(
  noLoop,
  "a mount with the option loop gives its device back",
  async () => {
    writeFileSync(`${dir}/image`, "");
    truncateSync(`${dir}/image`, 16 << 20);
    expect(Bun.spawnSync(["mkfs.ext4", "-q", `${dir}/image`]).exitCode).toBe(0);
    await activations.activate(ns, undefined, "o", [mount("ext4", `${dir}/image`, "ro", "loop")], {
      labels: {},
      temporary: true,
    });
    expect(Bun.spawnSync(["losetup", "-j", `${dir}/image`]).stdout.toString()).toContain(dir);
    await activations.deactivate(ns, "o");
    expect(Bun.spawnSync(["losetup", "-j", `${dir}/image`]).stdout.toString()).toBe("");
  },
  20_000,
);

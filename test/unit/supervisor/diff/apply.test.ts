/** Layers made by hand, applied by the process that applies them. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { ContainerdError } from "../../../../proto/errdefs.ts";
import { Code } from "../../../../proto/ttrpc/status.ts";
import { S } from "../../../../shim/linux/index.ts";
import { archive, entry, long, pax, raw } from "../../../lib/archive.ts";
import { Place, skipped } from "./fixture.ts";

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const directory = (name: string, mode = 0o755, mtime = 1_000_000_000) =>
  entry({ name: `${name}/`, type: "5", mode, mtime });

let place: Place;
let count = 0;
const fresh = (): string => `t${count++}`;

beforeAll(() => {
  place = new Place();
});
afterAll(() => place[Symbol.dispose]());

describe.skipIf(skipped !== undefined)("what an archive can hold", () => {
  test("files, directories, links, nodes, with owner, mode and times", async () => {
    const at = fresh();
    const bytes = archive(
      directory("d", 0o1777, 1_111_111_111),
      entry({ name: "d/file", body: "hello", mode: 0o644, uid: 1000, gid: 1001, mtime: 1_234_567_890 }),
      entry({ name: "d/suid", body: "x", mode: 0o6755, uid: 5, gid: 6 }),
      entry({ name: "d/empty", mode: 0o600 }),
      entry({ name: "d/link", type: "1", target: "d/file", mode: 0o644, uid: 1000, gid: 1001, mtime: 1_234_567_890 }),
      entry({ name: "d/symlink", type: "2", target: "../anything", mode: 0o777, uid: 7, mtime: 1_222_222_222 }),
      entry({ name: "d/dangling", type: "1", target: "d/symlink" }),
      entry({ name: "d/fifo", type: "6", mode: 0o620 }),
      entry({ name: "d/char", type: "3", major: 10, minor: 229, mode: 0o666 }),
      entry({ name: "d/block", type: "4", major: 259, minor: 70_000, mode: 0o660, uid: 0, gid: 6 }),
      pax({ mtime: "1500000000.123456789", uid: "3000000", gid: "3000001" }),
      entry({ name: "d/pax" }),
      pax({ mtime: "99999999999999" }),
      entry({ name: "d/future" }),
      entry({ name: "d/past", mtime: -1, format: "gnu" }),
      pax({ path: `long/${"n".repeat(200)}/${"o".repeat(200)}` }),
      entry({ name: "cut", body: "long" }),
      long("L", `gnu/${"p".repeat(150)}`),
      entry({ name: "cut", body: "gnu", format: "gnu" }),
      entry({ name: "./dot/./x//y", body: "dots" }),
      entry({ name: "./", type: "5", mode: 0o700 }),
    );
    const before = place.see(".").mode;
    const applied = await place.apply(bytes, place.bind(at), { syncFs: true });
    expect(applied).toEqual({
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest: sha256(bytes),
      size: bytes.length,
    });
    const see = (name: string) => place.see(`${at}/${name}`);
    expect(see("d")).toEqual({ type: "directory", mode: 0o1777, uid: 0, gid: 0, mtime: 1_111_111_111 });
    expect(see("d/file")).toEqual({ type: "file", mode: 0o644, uid: 1000, gid: 1001, mtime: 1_234_567_890 });
    expect(see("d/suid")).toMatchObject({ mode: 0o6755, uid: 5, gid: 6 });
    expect(see("d/empty")).toMatchObject({ type: "file", mode: 0o600 });
    expect(see("d/symlink")).toMatchObject({ type: "-> ../anything", uid: 0, mtime: 0 });
    expect(see("d/fifo")).toMatchObject({ type: "fifo", mode: 0o620 });
    expect(see("d/char")).toMatchObject({ type: "c 10:229", mode: 0o666 });
    expect(see("d/block")).toMatchObject({ type: "b 259:70000", mode: 0o660, gid: 6 });
    expect(see("d/pax")).toMatchObject({ uid: 3_000_000, gid: 3_000_001 });
    const pathOf = (name: string): string => join(place.directory, at, name);
    expect(statSync(pathOf("d/pax"), { bigint: true }).mtimeNs).toBe(1_500_000_000_123_456_789n);
    expect([see("d/future").mtime, see("d/past").mtime]).toEqual([0, 0]);
    expect(lstatSync(pathOf("d/file")).ino).toBe(lstatSync(pathOf("d/link")).ino);
    // A hard link to a symbolic link is one of the link itself.
    expect(lstatSync(pathOf("d/dangling")).ino).toBe(lstatSync(pathOf("d/symlink")).ino);
    expect(readFileSync(pathOf(`long/${"n".repeat(200)}/${"o".repeat(200)}`), "utf8")).toBe("long");
    expect(readFileSync(pathOf(`gnu/${"p".repeat(150)}`), "utf8")).toBe("gnu");
    expect(readFileSync(pathOf("dot/x/y"), "utf8")).toBe("dots");
    expect(see(".").mode).toBe(before === 0o700 ? 0o755 : see(".").mode);
  });

  test("extended attributes: capabilities and users' own, but none that overlayfs obeys", async () => {
    const at = fresh();
    const capability = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    const bytes = archive(
      pax({
        "SCHILY.xattr.security.capability": capability,
        "SCHILY.xattr.user.note": "a\0b",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
      }),
      entry({ name: "f", mode: 0o755, uid: 1 }),
      pax({ "SCHILY.xattr.user.note": "x", "SCHILY.xattr.trusted.overlay.opaque": "y" }),
      directory("d"),
      pax({ "SCHILY.xattr.user.note": "x" }),
      entry({ name: "l", type: "2", target: "f" }),
    );
    await place.apply(bytes, place.overlay(at));
    expect(place.attributes(`${at}/f`)).toEqual({ "security.capability": capability, "user.note": "a\0b" });
    expect(place.attributes(`${at}/d`)).toEqual({ "user.note": "x" });
    expect(place.attributes(`${at}/l`)).toEqual({});
  });

  test("sparse files have holes", async () => {
    const at = fresh();
    const size = 64 << 20;
    const map = `${1 << 20},5,${32 << 20},4`;
    await place.apply(
      archive(pax({ "GNU.sparse.size": String(size), "GNU.sparse.map": map }), entry({ name: "s", body: "helloabcd" })),
      place.bind(at),
    );
    const path = join(place.directory, at, "s");
    const stat = statSync(path);
    expect(stat.size).toBe(size);
    expect(stat.blocks * 512).toBeLessThan(1 << 20);
    const content = readFileSync(path);
    expect(content.toString("latin1", 1 << 20, (1 << 20) + 6)).toBe("hello\0");
    expect(content.toString("latin1", 32 << 20, (32 << 20) + 5)).toBe("abcd\0");
  });

  test("names that are no text", async () => {
    const at = fresh();
    await place.apply(archive(entry({ name: "\xff\xfe\n\x01", body: "x" })), place.bind(at));
    expect(readdirSync(Buffer.from(join(place.directory, at)), "buffer").map(String)).toEqual([
      String(raw("\xff\xfe\n\x01")),
    ]);
  });

  test("compressed in every way, whatever the name of the way says", async () => {
    const tar = archive(entry({ name: "f", body: Buffer.alloc(3 << 20, "some words ") }));
    const noise = archive(
      entry({ name: "f", body: crypto.getRandomValues(Buffer.alloc(60_000)) }),
      ...Array.from({ length: 40 }, (_, i) =>
        entry({ name: `g${i}`, body: crypto.getRandomValues(Buffer.alloc(60_000)) }),
      ),
    );
    const oci = "application/vnd.oci.image.layer.v1.tar";
    for (const bytes of [tar, noise]) {
      for (const [mediaType, blob] of [
        [`${oci}+gzip`, gzipSync(bytes)],
        [`${oci}+zstd`, zstdCompressSync(bytes)],
        [`${oci}+gzip`, zstdCompressSync(bytes)],
        [`${oci}+gzip`, bytes],
        ["application/vnd.docker.image.rootfs.diff.tar.gzip", gzipSync(bytes)],
        ["application/vnd.docker.image.rootfs.diff.tar", gzipSync(bytes)],
        [`${oci}+gzip`, Buffer.concat([gzipSync(bytes.subarray(0, 1000)), gzipSync(bytes.subarray(1000))])],
      ] as const) {
        const applied = await place.apply(blob, place.bind(fresh()), { mediaType });
        expect(applied.digest).toBe(sha256(bytes));
      }
    }
  }, 30_000);
});

describe.skipIf(skipped !== undefined)("what replaces what", () => {
  test("a later entry replaces an earlier one; directories are merged", async () => {
    const at = fresh();
    const bytes = archive(
      ...[directory("a"), entry({ name: "a/x", body: "1" }), entry({ name: "a", body: "file" })],
      ...[entry({ name: "b", body: "file" }), directory("b", 0o700), entry({ name: "b/y", body: "2" })],
      ...[entry({ name: "c", type: "2", target: "b" }), entry({ name: "c", body: "no link" })],
      ...[entry({ name: "e", type: "2", target: "b" }), directory("e"), entry({ name: "e/z" })],
      ...[directory("b", 0o711, 5), entry({ name: "b/y", body: "3" })],
    );
    await place.apply(bytes, place.bind(at));
    expect(place.tree(at)).toEqual(["a", "b", "b/y", "c", "e", "e/z"]);
    expect(place.see(`${at}/b`)).toMatchObject({ mode: 0o711, mtime: 5 });
    expect(readFileSync(join(place.directory, at, "b/y"), "utf8")).toBe("3");
    expect(place.see(`${at}/c`).type).toBe("file");
  });

  test("links to directories are followed on the way to a file, also to what is not there yet", async () => {
    const at = fresh();
    const bytes = archive(
      ...[entry({ name: "var/run", type: "2", target: "/run" }), entry({ name: "var/run/pid", body: "1" })],
      ...[entry({ name: "l", type: "2", target: "var/../deep/er" }), entry({ name: "l/f", body: "2" })],
    );
    await place.apply(bytes, place.bind(at));
    expect(place.tree(at)).toEqual(["deep", "deep/er", "deep/er/f", "l", "run", "run/pid", "var", "var/run"]);
  });

  test("whiteouts remove what was there before, never what the layer brings (bind)", async () => {
    const at = fresh();
    const mounts = place.bind(at);
    const root = join(place.directory, at);
    for (const name of ["gone/deep/er", "opaque/old/x", "kept", "both"])
      mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, "both/old"), "");
    writeFileSync(join(root, "file"), "");
    const bytes = archive(
      ...[entry({ name: ".wh.gone" }), entry({ name: ".wh.file" }), entry({ name: ".wh.missing" })],
      ...[
        entry({ name: "opaque/new", body: "n" }),
        entry({ name: "opaque/.wh..wh..opq" }),
        entry({ name: "opaque/later" }),
      ],
      ...[entry({ name: "both/new" }), entry({ name: ".wh.both" })],
      ...[entry({ name: "brought" }), entry({ name: ".wh.brought" }), entry({ name: ".wh..wh.plnk" })],
    );
    await place.apply(bytes, mounts);
    expect(place.tree(at)).toEqual(["both", "both/new", "brought", "kept", "opaque", "opaque/later", "opaque/new"]);
  });

  test("whiteouts become overlayfs' own marks in an upper directory", async () => {
    const at = fresh();
    const mounts = place.overlay(at, `${at}.lower`);
    const lower = join(place.directory, `${at}.lower`);
    mkdirSync(join(lower, "a/b"), { recursive: true });
    const bytes = archive(
      ...[entry({ name: "a/.wh.b" }), entry({ name: ".wh.x", uid: 3 }), entry({ name: "a/o/.wh..wh..opq" })],
      // A directory takes the place of one that the same layer removed, before and after.
      ...[entry({ name: ".wh.again" }), directory("again"), entry({ name: "again/f" })],
      ...[directory("first"), entry({ name: "first/f" }), entry({ name: ".wh.first" })],
      ...[entry({ name: ".wh.file" }), entry({ name: "file", body: "x" })],
      ...[entry({ name: "other" }), entry({ name: ".wh.other" })],
    );
    await place.apply(bytes, mounts);
    expect(place.see(`${at}/a/b`)).toMatchObject({ type: "c 0:0" });
    expect(place.see(`${at}/x`)).toMatchObject({ type: "c 0:0", uid: 3 });
    for (const name of ["a/o", "again", "first"]) {
      expect(place.attributes(`${at}/${name}`)).toEqual({ "trusted.overlay.opaque": "y" });
    }
    expect(place.tree(at)).toContain("again/f");
    expect(place.see(`${at}/file`).type).toBe("file");
    expect(place.see(`${at}/other`).type).toBe("file");
  });

  test("userxattr asks for marks that users may set", async () => {
    const at = fresh();
    const [mount] = place.overlay(at, `${at}.lower`);
    if (mount === undefined) throw new Error("no mount");
    await place.apply(archive(entry({ name: "d/.wh..wh..opq" })), [
      { ...mount, options: [...mount.options, "userxattr"] },
    ]);
    expect(place.attributes(`${at}/d`)).toEqual({ "user.overlay.opaque": "y" });
  });

  test("directories that only layers below have come up with their owner, mode, attributes and times", async () => {
    const at = fresh();
    await place.apply(
      archive(
        ...[entry({ name: "top/", type: "5", mode: 0o750, uid: 42, gid: 43, mtime: 1_333_333_333 }), directory("real")],
        pax({ "SCHILY.xattr.user.note": "n" }),
        ...[directory("top/below", 0o700, 1_444_444_444), entry({ name: "link", type: "2", target: "real" })],
      ),
      place.bind(`${at}.lower`),
    );
    await place.apply(
      archive(entry({ name: "top/below/f" }), entry({ name: "link/f" })),
      place.overlay(at, `${at}.lower`),
    );
    expect(place.see(`${at}/top`)).toEqual({ type: "directory", mode: 0o750, uid: 42, gid: 43, mtime: 1_333_333_333 });
    expect(place.see(`${at}/top/below`)).toMatchObject({ mode: 0o700, mtime: 1_444_444_444 });
    expect(place.attributes(`${at}/top/below`)).toEqual({ "user.note": "n" });
    // As containerd: what a link below leads to is not known in the upper directory.
    expect(place.see(`${at}/link`)).toMatchObject({ type: "directory", mode: 0o755 });
  });

  test("mounts of any other kind are made, seen by nobody else, and gone", async () => {
    const at = fresh();
    const [lower] = [place.make(`${at}.lower`)];
    writeFileSync(join(lower, "old"), "");
    const overlay = place.overlay(at, `${at}.lower`);
    const mounts = [...overlay, { type: "tmpfs", source: "tmpfs", target: "inner", options: [] }];
    await place.apply(archive(entry({ name: ".wh.old" }), entry({ name: "new" }), entry({ name: "inner/x" })), mounts);
    expect(place.see(`${at}/old`).type).toBe("c 0:0");
    expect(place.tree(at)).toEqual(["inner", "new", "old"]);
    expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(place.directory);
  });
});

describe.skipIf(skipped !== undefined)("requests", () => {
  const codeOf = async (work: Promise<unknown>): Promise<Code> => {
    const error = await work.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (error instanceof ContainerdError) return error.code;
    throw new Error(`not refused: ${error}`);
  };

  test("of media types that are no layers, and of no mounts", async () => {
    const mediaType = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    expect(await codeOf(place.apply(archive(), place.bind(fresh()), { mediaType }))).toBe(Code.Unknown);
    expect(await codeOf(place.apply(archive(), []))).toBe(Code.InvalidArgument);
  });

  test("are ended by their signal, and leave no process", async () => {
    const controller = new AbortController();
    const fifo = place.path("fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    const mounts = place.bind(fresh());
    const apply = place.diff.apply(
      { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: "", size: 0 },
      mounts,
      {
        blobPath: fifo,
        signal: controller.signal,
      },
    );
    setTimeout(() => controller.abort(), 200);
    expect(await codeOf(apply)).toBe(Code.Canceled);
    controller.abort();
    expect(await codeOf(place.apply(archive(), mounts, { signal: controller.signal }))).toBe(Code.Canceled);
  });

  test("end with the daemon that made them", async () => {
    const fifo = place.path("endless");
    Bun.spawnSync(["mkfifo", fifo]);
    const program = place.path("daemon.ts");
    writeFileSync(
      program,
      `import { Diff } from ${JSON.stringify(join(import.meta.dir, "../../../../supervisor/diff/diff.ts"))};
       const mount = { type: "bind", source: "/tmp", target: "", options: ["bind"] };
       const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: "", size: 0 };
       await new Diff({ mountPoint: ${JSON.stringify(place.path("mount"))} }).apply(layer, [mount], { blobPath: process.argv[2] });`,
    );
    const daemon = Bun.spawn([process.execPath, program, fifo], { stdout: "ignore", stderr: "ignore" });
    const children = (): string => readFileSync(`/proc/${daemon.pid}/task/${daemon.pid}/children`, "utf8").trim();
    while (children() === "") await Bun.sleep(10);
    const child = Number(children().split(" ")[0]);
    // It has its request, and waits for the FIFO to be opened.
    while (readFileSync(`/proc/${child}/status`, "utf8").match(/NoNewPrivs:\t1/) === null) await Bun.sleep(10);
    daemon.kill("SIGKILL");
    await daemon.exited;
    const isGone = (): boolean => {
      try {
        return /^\d+ \(.*\) Z/.test(readFileSync(`/proc/${child}/stat`, "utf8"));
      } catch {
        return true;
      }
    };
    for (let i = 0; i < 200 && !isGone(); i++) await Bun.sleep(10);
    expect(isGone()).toBe(true);
  }, 15_000);

  test("S_IFMT has what Linux has", () => {
    expect(lstatSync("/dev/null").mode & S.IFMT).toBe(S.IFCHR);
  });
});

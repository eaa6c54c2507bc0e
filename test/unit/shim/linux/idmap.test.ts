/** Mounts whose files have other owners than on the disk, by the kernel, below a directory of this file's own. */

import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mountMapped, parseIdMap } from "../../../../shim/linux/idmap.ts";
import { type Mount, mount, mountAll, mountsBelow, unmountRecursive } from "../../../../shim/linux/mount.ts";
import { Reaper } from "../../../../shim/linux/reaper.ts";
import { ownDescriptors } from "../../../lib/process.ts";
import { processScope } from "../../../lib/scope.ts";
import { testUnless } from "../../../lib/skip.ts";

const base = join(processScope().dir, "idmaps");
mkdirSync(base);
let count = 0;
let dir = "";
beforeEach(() => {
  dir = join(base, `i${++count}`);
  mkdirSync(join(dir, "rootfs"), { recursive: true });
});
afterAll(() => unmountRecursive(base));

const rootfs = () => join(dir, "rootfs");
const maps = ["uidmap=0:100000:65536", "gidmap=0:200000:65536"];
const bind = (source: string, ...options: string[]): Mount => ({ type: "bind", source, target: "", options });
const owner = (path: string): number[] => [statSync(path).uid, statSync(path).gid];

/** Layers with one file each, of user and group 0, 1 and so on. */
function layers(amount: number, name = (index: number) => `l${index}`): string[] {
  return Array.from({ length: amount }, (_, index) => {
    const path = join(dir, "layers", name(index));
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, `f${index}`), "lower");
    chownSync(join(path, `f${index}`), index, index);
    return path;
  });
}

function overlay(lowers: readonly string[], ...options: string[]): Mount {
  for (const name of ["upper", "work"]) mkdirSync(join(dir, name), { recursive: true });
  const paths = lowers.map((lower) => lower.replaceAll(":", "\\:")).join(":");
  const own = [`lowerdir=${paths}`, `upperdir=${dir}/upper`, `workdir=${dir}/work`];
  return { type: "overlay", source: "overlay", target: "", options: [...own, ...maps, ...options] };
}

function mountLine(path: string): string {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.findLast((text) => text.split(" ")[4] === path) ?? "";
}

/** Why the kernel cannot do it; the versions are those of mounts and of overlays with mapped ids. */
function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "only root can mount";
  const [major = 0, minor = 0] = readFileSync("/proc/sys/kernel/osrelease", "utf8").split(".").map(Number);
  return major > 5 || (major === 5 && minor >= 19) ? undefined : "needs Linux 5.19";
}
const check = (name: string, body: () => void | Promise<void>) => testUnless(whyNot(), name, body, 30_000);

describe("UN-2 maps of ids", () => {
  test.each([
    ["0:1000:1", "0 1000 1\n"],
    ["0:100000:65536", "0 100000 65536\n"],
    ["0:1000:1,1:100000:65535", "0 1000 1\n1 100000 65535\n"],
    ["5:0:4294967290", "5 0 4294967290\n"],
  ])("%s", (text, file) => {
    expect(parseIdMap("uidmap", text)).toBe(file);
  });

  test.each([
    ["", "CONTAINER:HOST:LENGTH"],
    ["0", "CONTAINER:HOST:LENGTH"],
    ["0:1", "CONTAINER:HOST:LENGTH"],
    ["0:1:2:3", "CONTAINER:HOST:LENGTH"],
    ["0:1:1,", "CONTAINER:HOST:LENGTH"],
    ["-1:1:1", "CONTAINER:HOST:LENGTH"],
    ["0:+1:1", "CONTAINER:HOST:LENGTH"],
    ["0: 1:1", "CONTAINER:HOST:LENGTH"],
    ["0:0x1:1", "CONTAINER:HOST:LENGTH"],
    ["0:1:1\n", "CONTAINER:HOST:LENGTH"],
    ["a:b:c", "CONTAINER:HOST:LENGTH"],
    ["0:99999999999:1", "CONTAINER:HOST:LENGTH"],
    ["0:1:0", "maps nothing"],
    ["0:4294967295:1", "highest id"],
    ["4294967295:0:1", "highest id"],
    ["1:0:4294967295", "highest id"],
    ["0:1000:10,5:2000:10", "overlap at container id 5"],
    ["0:1000:10,10:1009:10", "overlap at host id 1009"],
    [Array.from({ length: 341 }, (_, i) => `${i}:${i}:1`).join(","), "341 ranges"],
  ])("%j is refused", (text, why) => {
    const refusal = expect.objectContaining({ invalid: true, message: expect.stringContaining(why) });
    expect(() => parseIdMap("gidmap", text)).toThrow(refusal);
    expect(() => parseIdMap("gidmap", text)).toThrow(`mount option gidmap=${text}`);
  });

  test("malformed ones are refused before anything is mounted", () => {
    expect(() => mount(bind(dir, "bind", "uidmap=0:1:1", "gidmap=x"), rootfs(), mountMapped)).toThrow("gidmap=x");
    expect(mountsBelow(dir)).toEqual([]);
  });

  test("are refused, not ignored, where nobody can make them", () => {
    const refusal = expect.objectContaining({ invalid: true, message: expect.stringContaining("not supported here") });
    expect(() => mount(bind(dir, "bind", ...maps), rootfs())).toThrow(refusal);
  });
});

describe("UN-2 overlays with mapped ids", () => {
  check("show the lower files with owners of the container's side, and leave the layers alone", () => {
    mount(overlay(layers(3)), rootfs(), mountMapped);
    expect([0, 1, 2].map((i) => owner(join(rootfs(), `f${i}`)))).toEqual([
      [100000, 200000],
      [100001, 200001],
      [100002, 200002],
    ]);
    expect(owner(join(dir, "layers/l2/f2"))).toEqual([2, 2]);
    writeFileSync(join(rootfs(), "f1"), "upper");
    expect(owner(join(dir, "upper/f1"))).toEqual([100001, 200001]);
    expect(readFileSync(join(dir, "layers/l1/f1"), "utf8")).toBe("lower");
    expect(mountsBelow(dir)).toEqual([rootfs()]);
    unmountRecursive(rootfs());
    expect(readdirSync(rootfs())).toEqual([]);
    expect(mountsBelow(dir)).toEqual([]);
  });

  check("without an upper directory, read-only, from names with colons and commas", () => {
    const { options } = overlay(layers(2, (index) => `a:b,${index}`));
    const lowers = options.filter((option) => !/^(?:upper|work)dir=/.test(option));
    mount({ type: "overlay", source: "overlay", target: "", options: [...lowers, "ro"] }, rootfs(), mountMapped);
    expect(owner(join(rootfs(), "f1"))).toEqual([100001, 200001]);
    expect(() => writeFileSync(join(rootfs(), "x"), "")).toThrow("EROFS");
    expect(mountLine(rootfs()).split(" ")[5]).toContain("ro");
  });

  check("of 300 layers, in a directory whose own name has a colon", () => {
    const target = join(dir, `root:fs,${"x".repeat(100)}`);
    mkdirSync(target);
    mount(overlay(layers(300)), target, mountMapped);
    expect(owner(join(target, "f299"))).toEqual([100299, 200299]);
    expect(mountsBelow(dir)).toEqual([target]);
  });

  check("on a target below another mount, as often as asked", () => {
    const mounts = [
      { type: "tmpfs", source: "tmpfs", target: "", options: [] },
      { ...overlay(layers(1)), target: "a" },
    ];
    for (let i = 0; i < 3; i++) {
      mountAll(mounts, rootfs(), mountMapped);
      expect(owner(join(rootfs(), "a/f0"))).toEqual([100000, 200000]);
      expect(mountsBelow(dir)).toEqual([join(rootfs(), "a"), rootfs()]);
      unmountRecursive(rootfs());
    }
  });

  check("that fail leave nothing: no mount, descriptor or child", () => {
    const lowers = layers(3);
    const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, "utf8");
    const before = [ownDescriptors().size, children()];
    const failing: [Mount, string][] = [
      [overlay([...lowers, join(dir, "missing")]), "no such file"],
      [overlay(lowers, "nonsense=1"), "invalid argument"],
      [overlay(["/proc/self"]), "does not support mapped ids"],
      [overlay([]), "lower directories"],
      [{ ...overlay(lowers), options: [`lowerdir=${lowers[0]}::${lowers[1]}`, ...maps] }, "lower directories"],
    ];
    for (const [bad, why] of failing) {
      expect(() => mountAll([bind(dir, "bind"), bad], rootfs(), mountMapped)).toThrow(why);
      expect(mountsBelow(dir)).toEqual([]);
    }
    expect([ownDescriptors().size, children()]).toEqual(before);
  });

  check("PR-1 make no child that the reaper meets", async () => {
    const reaper = new Reaper();
    reaper.start();
    const capture = reaper.capture();
    mount(overlay(layers(1)), rootfs(), mountMapped);
    await Bun.sleep(20);
    expect(capture.exits.size).toBe(0);
    reaper.release(capture);
  });
});

describe("UN-2 other mounts with mapped ids", () => {
  check("binds, with their flags and their propagation", () => {
    const [source = ""] = layers(1);
    mount(bind(source, "rbind", "ro", "nosuid", "rprivate", ...maps), rootfs(), mountMapped);
    expect(owner(join(rootfs(), "f0"))).toEqual([100000, 200000]);
    expect(mountLine(rootfs())).toMatch(/ ro,nosuid\S* - /);
    expect(mountsBelow(dir)).toEqual([rootfs()]);
  });

  check("who is mapped writes with the owner of the disk, who is not cannot", () => {
    const [source = ""] = layers(1);
    mount(bind(source, "bind", "rw", ...maps), rootfs(), mountMapped);
    const run = (uid: number, gid: number, name: string) =>
      Bun.spawnSync(["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "touch", join(rootfs(), name)]);
    expect(run(100000, 200000, "mine").exitCode).toBe(0);
    expect(owner(join(source, "mine"))).toEqual([0, 0]);
    expect(() => writeFileSync(join(rootfs(), "host"), "")).toThrow("EOVERFLOW");
  });

  check("binds take what is mounted below along only when they are recursive", () => {
    const [source = ""] = layers(1);
    mkdirSync(join(source, "sub"));
    mount(bind(layers(2)[1] ?? "", "bind"), join(source, "sub"));
    for (const [option, names] of [
      ["rbind", ["f1"]],
      ["bind", []],
    ] as const) {
      mount(bind(source, option, ...maps), rootfs(), mountMapped);
      expect(readdirSync(join(rootfs(), "sub"))).toEqual([...names]);
      unmountRecursive(rootfs());
    }
  });

  check("of a file system that does not support it are refused in words", () => {
    expect(() => mount(bind("/proc/sys", "bind", ...maps), rootfs(), mountMapped)).toThrow(
      "invalid argument: its file system does not support mapped ids in this kernel",
    );
    expect(mountsBelow(dir)).toEqual([]);
  });
});

/** Mounts by the kernel, below a directory of this file's own. */

import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Mount,
  MountError,
  mount,
  mountAll,
  mountsBelow,
  parseMountPoints,
  unmountRecursive,
} from "../../../../shim/linux/mount.ts";
import { Reaper } from "../../../../shim/linux/reaper.ts";
import { unmountRecursive as unmountInChildren } from "../../../../shim/linux/unmount.ts";
import { ownDescriptors } from "../../../lib/process.ts";
import { processScope } from "../../../lib/scope.ts";
import { testUnless } from "../../../lib/skip.ts";

const base = join(processScope().dir, "mounts");
mkdirSync(base);
const notRoot = process.getuid?.() === 0 ? undefined : "only root can mount";
const check = (name: string, body: () => void | Promise<void>) => testUnless(notRoot, name, body, 30_000);
let count = 0;
let dir = "";
beforeEach(() => {
  dir = join(base, `m${++count}`);
  mkdirSync(join(dir, "rootfs"), { recursive: true });
});
afterAll(() => unmountRecursive(base));

const rootfs = () => join(dir, "rootfs");
const tmpfs = (...options: string[]): Mount => ({ type: "tmpfs", source: "tmpfs", target: "", options });
const bind = (source: string, ...options: string[]): Mount => ({ type: "bind", source, target: "", options });

/** Layers with one file each, named by their number. */
function layers(amount: number, name: (index: number) => string): string[] {
  return Array.from({ length: amount }, (_, index) => {
    const path = join(dir, "layers", name(index));
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, `f${index}`), "");
    return path;
  });
}

function overlay(lowers: readonly string[], ...options: string[]): Mount {
  for (const name of ["upper", "work"]) mkdirSync(join(dir, name), { recursive: true });
  const own = [`lowerdir=${lowers.join(":")}`, `upperdir=${dir}/upper`, `workdir=${dir}/work`];
  return { type: "overlay", source: "overlay", target: "", options: [...own, ...options] };
}

/** The options that the kernel says the mount point has: those of the mount, and of the file system. */
function kernelOptions(path: string): { mount: string[]; all: string } {
  const line = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .findLast((text) => text.split(" ")[4] === path);
  if (line === undefined) throw new Error(`${path} is no mount point`);
  return { mount: (line.split(" ")[5] ?? "").split(","), all: line };
}

describe("UN-2 overlays", () => {
  check("of few layers", () => {
    mount(overlay(layers(2, (index) => `l${index}`)), rootfs());
    expect(readdirSync(rootfs()).sort()).toEqual(["f0", "f1"]);
    writeFileSync(join(rootfs(), "new"), "x");
    expect(existsSync(join(dir, "upper/new"))).toBe(true);
  });

  for (const [amount, length, way] of [
    [120, 40, "named from their parent"],
    [500, 4, "named from their parent"],
    [120, 100, "one by one"],
    [500, 60, "one by one"],
  ] as const) {
    check(`of ${amount} layers with ${length} characters each, ${way}`, () => {
      const lowers = layers(amount, (index) => String(index).padStart(length, "x"));
      const options = overlay(lowers);
      expect(options.options.join(",").length).toBeGreaterThan(4096);
      const cwd = process.cwd();
      mount(options, rootfs());
      expect(process.cwd()).toBe(cwd);
      expect(readlink("/proc/self/cwd")).toBe(cwd);
      expect(readdirSync(rootfs())).toHaveLength(amount);
      writeFileSync(join(rootfs(), "new"), "x");
      expect(existsSync(join(dir, "upper/new"))).toBe(true);
    });
  }

  check("whose line in the mount table runc could not read are refused", () => {
    const lowers = layers(500, (index) => String(index).padStart(130, "x"));
    const refusal = expect.objectContaining({ invalid: true, message: expect.stringContaining("mount table") });
    expect(() => mount(overlay(lowers), rootfs())).toThrow(refusal);
  });

  check("of names with more bytes than characters are not cut off", () => {
    const lowers = layers(40, (index) => `${"ü".repeat(90)}${index}`);
    const { options } = overlay(lowers);
    // Fits by characters, not by bytes, also when named from the parent.
    expect(lowers.map((path) => path.slice(dir.length)).join(":").length).toBeLessThan(4096);
    mount({ ...overlay(lowers), options }, rootfs());
    expect(readdirSync(rootfs())).toHaveLength(40);
  });

  check("of layers with a colon in their names, by each way", () => {
    for (const [amount, length] of [
      [2, 4],
      [100, 40],
      [120, 100],
    ] as const) {
      const lowers = layers(amount, (index) => `a:b${amount}-${String(index).padStart(length, "x")}`);
      mount(overlay(lowers.map((path) => path.replaceAll(":", "\\:"))), rootfs());
      expect(readdirSync(rootfs())).toHaveLength(amount);
      unmountRecursive(rootfs());
    }
  });

  check("one by one keep the flags", () => {
    const lowers = layers(120, (index) => String(index).padStart(100, "x"));
    mount(overlay(lowers, "ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"), rootfs());
    const { mount: flags } = kernelOptions(rootfs());
    expect(flags).toEqual(expect.arrayContaining(["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"]));
    expect(() => writeFileSync(join(rootfs(), "x"), "")).toThrow("EROFS");
  });

  check("of more layers than the kernel takes are refused with both numbers", () => {
    const lowers = layers(1000, (index) => `l${index}`);
    const refusal = expect.objectContaining({ message: expect.stringMatching(/1000 lower directories.* 500/) });
    expect(() => mount(overlay(lowers), rootfs())).toThrow(refusal);
    expect(mountsBelow(dir)).toEqual([]);
  });

  check("with a layer that is not there are refused in the kernel's words, and no descriptor stays", () => {
    const lowers = [...layers(120, (index) => String(index).padStart(100, "x")), join(dir, "missing")];
    const before = ownDescriptors().size;
    expect(() => mount(overlay(lowers), rootfs())).toThrow(/missing|no such file/);
    expect(() => mount(overlay(lowers.slice(-2)), rootfs())).toThrow("no such file");
    expect(() => mount(overlay(lowers.slice(0, -1), "nonsense=1"), rootfs())).toThrow("nonsense");
    expect(ownDescriptors().size).toBe(before);
    expect(mountsBelow(dir)).toEqual([]);
  });
});

function readlink(path: string): string {
  return Bun.spawnSync(["readlink", `/proc/${process.pid}/${path.split("/").at(-1)}`])
    .stdout.toString()
    .trim();
}

test("more than a page of options that are no overlay's are refused, not cut off", () => {
  const refusal = expect.objectContaining({ invalid: true, message: expect.stringContaining("the kernel reads 4095") });
  expect(() => mount(tmpfs(`mpol=${"x".repeat(5000)}`), rootfs())).toThrow(refusal);
  expect(() => mount(tmpfs(`mpol=${"ü".repeat(2500)}`), rootfs())).toThrow(refusal);
});

describe("bind mounts", () => {
  check("take their flags by a second call, and the kernel says so", () => {
    mkdirSync(join(dir, "source"));
    writeFileSync(join(dir, "source/f"), "");
    mount(bind(join(dir, "source"), "rbind", "ro", "nosuid", "nodev", "noexec", "rprivate"), rootfs());
    const { mount: flags, all } = kernelOptions(rootfs());
    expect(flags).toEqual(expect.arrayContaining(["ro", "nosuid", "nodev", "noexec"]));
    expect(all).not.toContain("shared:");
    expect(() => writeFileSync(join(rootfs(), "f"), "x")).toThrow("EROFS");
    writeFileSync(join(dir, "source/f"), "the source stays writable");
  });

  check("rw is rw, of a file too", () => {
    writeFileSync(join(dir, "source"), "a");
    writeFileSync(join(dir, "target"), "");
    mount(bind(join(dir, "source"), "bind", "rw"), join(dir, "target"));
    writeFileSync(join(dir, "target"), "b");
    expect(readFileSync(join(dir, "source"), "utf8")).toBe("b");
  });

  check("whose flags cannot be had are taken back", () => {
    mkdirSync(join(dir, "source"));
    // Shared and private at once is no propagation.
    expect(() => mount(bind(join(dir, "source"), "bind", "private", "shared"), rootfs())).toThrow("invalid argument");
    expect(mountsBelow(dir)).toEqual([]);
  });
});

describe("T-CRE-2 all or nothing", () => {
  check("a failing mount takes back those before it", () => {
    const mounts = [tmpfs(), { ...tmpfs(), target: "a" }, { ...tmpfs(), type: "nosuchfs", target: "b" }];
    expect(() => mountAll(mounts, rootfs())).toThrow("no such device");
    expect(mountsBelow(dir)).toEqual([]);
  });

  check("several mounts, one in the other", () => {
    mountAll([tmpfs(), { ...tmpfs("ro"), target: "/a/b" }], rootfs());
    expect(mountsBelow(rootfs())).toEqual([join(rootfs(), "a/b"), rootfs()]);
    expect(kernelOptions(join(rootfs(), "a/b")).mount).toContain("ro");
  });

  check("a second mount on the same place lies over the first", () => {
    mountAll([tmpfs(), tmpfs()], rootfs());
    expect(mountsBelow(rootfs())).toEqual([rootfs(), rootfs()]);
    unmountRecursive(rootfs());
    expect(mountsBelow(rootfs())).toEqual([]);
  });
});

describe("targets stay in the rootfs", () => {
  test.each(["..", "../x", "a/../../x", "/.."])("%j is refused", (target) => {
    const refusal = expect.objectContaining({ invalid: true, message: expect.stringContaining("leaves the rootfs") });
    expect(() => mount({ ...tmpfs(), target }, rootfs())).toThrow(refusal);
    expect(() => mount({ ...tmpfs(), target }, rootfs())).toThrow(MountError);
  });

  check("absolute and relative links lead as they would inside", () => {
    const outside = join(dir, "outside");
    mkdirSync(outside);
    const links: [string, string, string][] = [
      ["absolute", outside, outside],
      ["up", "../../outside", "/outside"],
      ["twice", "up", "/outside"],
      ["inner", "real", "/real"],
    ];
    for (const [name, to] of links) symlinkSync(to, join(rootfs(), name));
    mkdirSync(join(rootfs(), "real"));
    for (const [name, , inside] of links) {
      mount({ ...tmpfs(), target: `${name}/deep` }, rootfs());
      expect(mountsBelow(dir)).toEqual([join(rootfs(), inside, "deep")]);
      unmountRecursive(rootfs());
    }
    expect(readdirSync(outside)).toEqual([]);
  });

  check("a link to itself ends", () => {
    symlinkSync("loop", join(rootfs(), "loop"));
    expect(() => mount({ ...tmpfs(), target: "loop/x" }, rootfs())).toThrow("too many levels of symbolic links");
  });

  check("a file in the way is an error", () => {
    writeFileSync(join(rootfs(), "file"), "");
    expect(() => mount({ ...tmpfs(), target: "file/x" }, rootfs())).toThrow("not a directory");
  });
});

describe("unmounting", () => {
  const nested = () => {
    for (const path of ["", "a", "a/b", "a b", "tab\there"]) mount({ ...tmpfs(), target: path }, rootfs());
    mount(bind(join(rootfs(), "a"), "rbind"), join(rootfs(), "a b"));
  };

  check("UN-3 takes nested mounts with it, odd names too, and nothing beside", () => {
    mkdirSync(join(dir, "rootfs2"));
    mount(tmpfs(), join(dir, "rootfs2"));
    nested();
    expect(mountsBelow(rootfs()).length).toBeGreaterThanOrEqual(7);
    unmountRecursive(rootfs());
    expect(mountsBelow(dir)).toEqual([join(dir, "rootfs2")]);
    unmountRecursive(rootfs());
  });

  check("of a bundle that is reached by a link", () => {
    symlinkSync(dir, `${dir}-link`);
    mount(tmpfs(), join(`${dir}-link`, "rootfs"));
    expect(mountsBelow(join(`${dir}-link`, "rootfs"))).toEqual([rootfs()]);
    unmountRecursive(join(`${dir}-link`, "rootfs"));
    expect(mountsBelow(dir)).toEqual([]);
  });

  check("never follows a link in the place of the rootfs", () => {
    mkdirSync(join(dir, "other"));
    mount(tmpfs(), join(dir, "other"));
    symlinkSync("other", join(dir, "link"));
    unmountRecursive(join(dir, "link"));
    expect(mountsBelow(dir)).toEqual([join(dir, "other")]);
  });

  check("of what is in use lets it go later", () => {
    mount(tmpfs(), rootfs());
    const sleeper = Bun.spawn(["sleep", "60"], { cwd: rootfs() });
    unmountRecursive(rootfs());
    expect(mountsBelow(dir)).toEqual([]);
    sleeper.kill();
  });

  check("of nothing is fine", () => {
    unmountRecursive(rootfs());
    unmountRecursive(join(dir, "missing"));
  });

  check("PR-7 in children of its own leaves the same, and no zombie", async () => {
    const reaper = new Reaper();
    reaper.start();
    nested();
    const blocked = () => /SigBlk:\s*(\w+)/.exec(readFileSync("/proc/thread-self/status", "utf8"))?.[1];
    const before = blocked();
    await unmountInChildren(rootfs(), reaper);
    expect(mountsBelow(dir)).toEqual([]);
    mount(tmpfs(), rootfs());
    const busy = reaper.spawn({
      path: "/bin/sh",
      argv: ["sh", "-c", `cd ${rootfs()} && exec sleep 60`],
      env: {},
      fds: [],
    });
    while (readlink(`/proc/${busy.pid}/cwd`) === "") await Bun.sleep(1);
    await Bun.sleep(50);
    await unmountInChildren(rootfs(), reaper);
    expect(mountsBelow(dir)).toEqual([]);
    busy.killGroup();
    await busy.exited;
    expect(reaper.size).toBe(0);
    expect(blocked()).toBe(before);
  });
});

describe("mountinfo", () => {
  const line = (path: string) => `36 35 98:0 /mnt1 ${path} rw,noatime master:1 - ext3 /dev/root rw,errors=continue`;

  test("escapes are octal", () => {
    const text = [line("/r/a\\040b"), line("/r/tab\\011x"), line("/r/back\\134slash"), line("/r/line\\012end")].join(
      "\n",
    );
    expect(parseMountPoints(text, "/r")).toEqual(["/r/a b", "/r/tab\tx", "/r/back\\slash", "/r/line\nend"]);
    expect(parseMountPoints(text, "/r/a b")).toEqual(["/r/a b"]);
  });

  test("only the directory and what is below it", () => {
    const text = `${["/r", "/r/a", "/rootfs", "/", "/x/r", "/r2/a"].map(line).join("\n")}\n`;
    expect(parseMountPoints(text, "/r")).toEqual(["/r", "/r/a"]);
  });

  test("damaged text", () => {
    expect(parseMountPoints("", "/r")).toEqual([]);
    expect(parseMountPoints("36 35 98:0\n\n1 2 3 4 /r", "/r")).toEqual(["/r"]);
  });
});

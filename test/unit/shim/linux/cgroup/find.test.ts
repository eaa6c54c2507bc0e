import { afterEach, describe, expect, test } from "bun:test";
import { CgroupGoneError, findCgroups } from "../../../../../shim/linux/cgroup/index.ts";
import { makeTree, pid, processFiles, type Tree, v1Mounts, v2Mount } from "./tree.ts";

let tree: Tree | undefined;
afterEach(() => {
  tree?.remove();
  tree = undefined;
});

function make(files: Record<string, string>, directories: readonly string[]): Tree {
  tree = makeTree(files);
  for (const directory of directories) {
    tree.mkdir(directory);
  }
  return tree;
}

describe("findCgroups", () => {
  test("unified: the one directory", () => {
    const { root } = make(processFiles("0::/a/b\n", [v2Mount]), ["sys/fs/cgroup/a/b"]);
    expect(findCgroups(pid, { root })).toEqual({
      version: 2,
      root,
      mountpoint: `${root}/sys/fs/cgroup`,
      directory: `${root}/sys/fs/cgroup/a/b`,
    });
  });

  test("hybrid counts as v1, each controller with its directory", () => {
    const text = "5:name=systemd:/s\n4:memory:/m/x\n3:cpu,cpuacct:/c\n2:pids:/\n1:devices:/unmounted\n0::/u\n";
    const cgroup = "sys/fs/cgroup";
    const { root } = make(processFiles(text, v1Mounts), [
      `${cgroup}/systemd/s`,
      `${cgroup}/memory/m/x`,
      `${cgroup}/cpu,cpuacct/c`,
      `${cgroup}/pids`,
      `${cgroup}/unified/u`,
    ]);
    const found = findCgroups(pid, { root });
    expect(found.version).toBe(1);
    expect(found.version === 1 && Object.fromEntries(found.controllers)).toEqual({
      "name=systemd": `${root}/${cgroup}/systemd/s`,
      memory: `${root}/${cgroup}/memory/m/x`,
      cpu: `${root}/${cgroup}/cpu,cpuacct/c`,
      cpuacct: `${root}/${cgroup}/cpu,cpuacct/c`,
      pids: `${root}/${cgroup}/pids`,
    });
  });

  test("a mount that shows a part of the hierarchy, with a space in its name", () => {
    const mount = "/pod/x /mnt/a\\040b rw - cgroup cgroup rw,memory";
    const { root } = make(processFiles("1:memory:/pod/x/y:z\n", [mount]), ["mnt/a b/y:z"]);
    const found = findCgroups(pid, { root });
    expect(found.version === 1 && found.controllers.get("memory")).toBe(`${root}/mnt/a b/y:z`);
  });

  test("a cgroup outside of what the mount shows is nobody's", () => {
    for (const path of ["/pod/xy", "/../z", "/pod/x/..", "/pod"]) {
      const mount = "/pod/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
      const { root } = make(processFiles(`0::${path}\n`, [mount]), ["sys/fs/cgroup"]);
      expect(() => findCgroups(pid, { root })).toThrow(CgroupGoneError);
      tree?.remove();
      tree = undefined;
    }
  });

  test("an exited process does not tell: its v1 cgroups read as the root", () => {
    const { root } = make(processFiles("1:memory:/\n", v1Mounts, "Z"), ["sys/fs/cgroup/memory"]);
    expect(() => findCgroups(pid, { root })).toThrow("cgroup does not exist");
  });

  test("no process, no directory", () => {
    const { root } = make(processFiles("0::/gone (deleted)\n", [v2Mount]), ["sys/fs/cgroup"]);
    expect(() => findCgroups(pid, { root })).toThrow(CgroupGoneError);
    expect(() => findCgroups(pid + 1, { root })).toThrow(CgroupGoneError);
  });
});

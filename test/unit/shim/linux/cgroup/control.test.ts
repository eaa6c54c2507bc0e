import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { enableControllers, findCgroups, joinCgroup } from "../../../../../shim/linux/cgroup/index.ts";
import { outcome } from "../../../../lib/outcome.ts";
import { makeTree, pid, processFiles, type Tree, v1Mounts, v2Mount } from "./tree.ts";

let tree: Tree | undefined;
afterEach(() => {
  tree?.remove();
  tree = undefined;
});

describe("T-CRE-9 enableControllers", () => {
  test("writes what is missing from the root down to the parent, and reports what fails", () => {
    tree = makeTree({
      ...processFiles("0::/a/b/c\n", [v2Mount]),
      "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
      "sys/fs/cgroup/cgroup.subtree_control": "memory cpu pids",
      "sys/fs/cgroup/a/cgroup.subtree_control": "cpu",
      "sys/fs/cgroup/a/b/c/cgroup.subtree_control": "",
    });
    const { root } = tree;
    const errors = enableControllers(findCgroups(pid, { root }));
    const read = (path: string) => readFileSync(`${root}/sys/fs/cgroup/${path}cgroup.subtree_control`, "utf8");
    expect(read("")).toBe("memory cpu pids");
    expect(read("a/").startsWith("+memory +pids")).toBe(true);
    expect(read("a/b/c/")).toBe("");
    expect(errors).toHaveLength(3);
    for (const error of errors) {
      expect(error.message).toContain("/a/b/cgroup.subtree_control: no such file or directory");
    }
  });

  test("does nothing on v1", () => {
    tree = makeTree(processFiles("1:memory:/\n", v1Mounts));
    tree.mkdir("sys/fs/cgroup/memory");
    expect(enableControllers(findCgroups(pid, { root: tree.root }))).toEqual([]);
  });
});

describe("ST-9 joinCgroup", () => {
  test("v1: every hierarchy that has the cgroup", async () => {
    tree = makeTree({
      ...processFiles("", v1Mounts),
      "sys/fs/cgroup/memory/shims/cgroup.procs": "",
      "sys/fs/cgroup/systemd/shims/cgroup.procs": "",
      "sys/fs/cgroup/unified/shims/cgroup.procs": "",
      "sys/fs/cgroup/pids/cgroup.procs": "",
    });
    const { root } = tree;
    await joinCgroup("shims/", 77, { root });
    const read = (path: string) => readFileSync(`${root}/sys/fs/cgroup/${path}/cgroup.procs`, "utf8");
    expect(["memory/shims", "systemd/shims", "unified/shims", "pids"].map(read)).toEqual(["77", "77", "", ""]);
    expect(await outcome(joinCgroup("/none", 77, { root }))).toThrow(
      "failed to load cgroup /none: cgroups: cgroup deleted",
    );
    expect(await outcome(joinCgroup("/shims", 0, { root }))).toThrow(
      "failed to join cgroup /shims: cgroups: pid must be greater than 0",
    );
  });

  test("v2: the path must be absolute and exist", async () => {
    tree = makeTree({ ...processFiles("", [v2Mount]), "sys/fs/cgroup/shims/cgroup.procs": "" });
    const { root } = tree;
    await joinCgroup("/shims", 77, { root });
    expect(readFileSync(`${root}/sys/fs/cgroup/shims/cgroup.procs`, "utf8")).toBe("77");
    for (const path of ["shims", "/a/../shims", "/sys/fs/cgroup/shims", "/shims/"]) {
      expect(await outcome(joinCgroup(path, 77, { root }))).toThrow(
        `failed to load cgroup ${path}: cgroups: invalid group path`,
      );
    }
    expect(await outcome(joinCgroup("/none", 77, { root }))).toThrow("failed to join cgroup /none: open");
  });
});

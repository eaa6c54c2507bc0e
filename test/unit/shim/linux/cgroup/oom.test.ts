import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync, writeSync } from "node:fs";
import { type Cgroup, findCgroups, type OomWatch, watchOom } from "../../../../../shim/linux/cgroup/index.ts";
import { waitFor } from "../../../../lib/wait.ts";
import { makeTree, pid, processFiles, type Tree, v1Mounts, v2Mount } from "./tree.ts";

let tree: Tree | undefined;
let watch: OomWatch | undefined;
afterEach(() => {
  watch?.close();
  watch = undefined;
  tree?.remove();
  tree = undefined;
});

const memory = "sys/fs/cgroup/memory/c";
const oomControl = (kills: number, state = "oom_kill_disable 0\nunder_oom 0") => `${state}\noom_kill ${kills}\n`;
const settle = () => Bun.sleep(50);
const openFds = () => readdirSync("/proc/self/fd").length;

function eventfds(): number[] {
  const isEventfd = (fd: string): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:[eventfd]";
    } catch {
      return false; // the descriptor of the listing itself
    }
  };
  return readdirSync("/proc/self/fd").filter(isEventfd).map(Number);
}

/** A v1 watch on plain files; `notify` does what the kernel does to the eventfd. */
function watchV1(initial: string, onOom: () => void): { files: Tree; notify: () => void } {
  const files = makeTree({
    ...processFiles("1:memory:/c\n", v1Mounts),
    [`${memory}/memory.oom_control`]: initial,
    [`${memory}/cgroup.event_control`]: "",
  });
  tree = files;
  const before = eventfds();
  watch = watchOom(findCgroups(pid, { root: files.root }), onOom);
  const added = eventfds().filter((fd) => !before.includes(fd));
  expect(added).toHaveLength(1);
  const registered = readFileSync(`${files.root}/${memory}/cgroup.event_control`, "utf8");
  expect(registered).toMatch(/^\d+ \d+$/);
  return { files, notify: () => writeSync(added[0] ?? -1, new Uint8Array(new BigUint64Array([1n]).buffer)) };
}

describe("v1", () => {
  test("a kill is reported once, whether seen by the notification or by check", async () => {
    let reports = 0;
    const { files, notify } = watchV1(oomControl(2), () => reports++);
    expect(watch?.check()).toBe(false);
    files.write(`${memory}/memory.oom_control`, oomControl(3));
    expect(watch?.check()).toBe(true);
    expect(reports).toBe(1);
    notify();
    await settle();
    expect(reports).toBe(1);
    files.write(`${memory}/memory.oom_control`, oomControl(4));
    notify();
    await settle();
    expect(reports).toBe(2);
    expect(watch?.check()).toBe(false);
  });

  test("a kill that follows its notification is seen by the second looks", async () => {
    let reports = 0;
    const { files, notify } = watchV1(oomControl(0), () => reports++);
    notify();
    await Bun.sleep(5);
    expect(reports).toBe(0);
    files.write(`${memory}/memory.oom_control`, oomControl(1));
    await Bun.sleep(200);
    expect(reports).toBe(1);
  });

  test("a kill in a child cgroup counts", async () => {
    let reports = 0;
    const { files, notify } = watchV1(oomControl(0), () => reports++);
    files.write(`${memory}/child/inner.slice/memory.oom_control`, oomControl(0));
    files.write(`${memory}/child/memory.oom_control`, oomControl(0));
    notify();
    await settle();
    expect(reports).toBe(0);
    files.write(`${memory}/child/inner.slice/memory.oom_control`, oomControl(1));
    expect(watch?.check()).toBe(true);
  });

  test("the notification of a removed cgroup is no OOM", async () => {
    let reports = 0;
    const { files, notify } = watchV1(oomControl(1), () => reports++);
    files.remove(memory);
    notify();
    await settle();
    expect(reports).toBe(0);
    expect(watch?.check()).toBe(false);
  });

  test("with the OOM killer off, running out of memory is reported", async () => {
    let reports = 0;
    const { notify } = watchV1(oomControl(0, "oom_kill_disable 1\nunder_oom 1"), () => reports++);
    notify();
    await settle();
    expect(reports).toBe(1);
  });

  test("a kernel without the counter: the notification is the report", async () => {
    let reports = 0;
    const { notify } = watchV1("oom_kill_disable 0\nunder_oom 0\n", () => reports++);
    notify();
    await settle();
    expect(reports).toBe(1);
    expect(watch?.check()).toBe(false);
  });
});

describe("v2", () => {
  const events = "sys/fs/cgroup/c/memory.events";
  function watchV2(onOom: () => void): Tree {
    tree = makeTree({ ...processFiles("0::/c\n", [v2Mount]), [events]: "oom 7\noom_kill 3\n" });
    watch = watchOom(findCgroups(pid, { root: tree.root }), onOom);
    return tree;
  }

  test("oom_kill growing is reported once; other events are not", async () => {
    let reports = 0;
    const files = watchV2(() => reports++);
    files.write(events, "oom 8\noom_kill 3\n");
    await settle();
    expect(reports).toBe(0);
    files.write(events, "oom 8\noom_kill 4\n");
    await settle();
    expect(reports).toBe(1);
    expect(watch?.check()).toBe(false);
    files.write(events, "oom 8\noom_kill 6\n");
    expect(watch?.check()).toBe(true);
    await settle();
    expect(reports).toBe(2);
  });

  test("after close nothing is reported, and close may come again, the cgroup gone", async () => {
    let reports = 0;
    const files = watchV2(() => reports++);
    files.write(events, "oom_kill 9\n");
    watch?.close();
    files.remove("sys/fs/cgroup/c");
    watch?.close();
    await settle();
    expect(reports).toBe(0);
    expect(watch?.check()).toBe(false);
  });

  test("no memory controller is an error at once", () => {
    tree = makeTree(processFiles("0::/c\n", [v2Mount]));
    tree.mkdir("sys/fs/cgroup/c");
    const cgroup = findCgroups(pid, { root: tree.root });
    expect(() => watchOom(cgroup, () => {})).toThrow("memory.events: no such file or directory");
  });
});

test("watches leave no descriptor behind", async () => {
  const files = makeTree({
    ...processFiles("1:memory:/c\n", v1Mounts),
    [`${memory}/memory.oom_control`]: oomControl(0),
    [`${memory}/cgroup.event_control`]: "",
    [`${memory}/memory.events`]: "oom_kill 0\n",
  });
  tree = files;
  const legacy = findCgroups(pid, { root: files.root });
  const directory = `${files.root}/${memory}`;
  const unified: Cgroup = { version: 2, root: files.root, mountpoint: directory, directory };
  const round = async () => {
    const watches = Array.from({ length: 20 }, (_, index) => watchOom(index % 2 ? legacy : unified, () => {}));
    for (const each of watches) {
      each.close();
    }
    await settle();
  };
  await round();
  const before = openFds();
  await round();
  await waitFor("the descriptors to be closed", () => openFds() <= before);
});

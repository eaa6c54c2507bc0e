/**
 * The shim's cgroup code against the kernel: containers made by runc directly, and containerd's own shim for comparison.
 * On a machine with cgroup v1 the file also runs itself in a virtual machine with cgroup v2, where there is the tool
 * `with-cgroup2` (test/lib/tools.ts).
 */

import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Cgroup,
  CgroupGoneError,
  enableControllers,
  findCgroups,
  joinCgroup,
  readStats,
  watchOom,
} from "../../shim/linux/cgroup/index.ts";
import { cgroupRoots, isCgroup2 } from "../lib/cgroup.ts";
import { run } from "../lib/command.ts";
import { Daemon } from "../lib/daemon.ts";
import { findBusybox, imageName } from "../lib/image.ts";
import { expectNoLeak, inventory } from "../lib/leak.ts";
import { outcome } from "../lib/outcome.ts";
import { root, whyNoContainers } from "../lib/paths.ts";
import { isAlive } from "../lib/process.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { Tasks } from "../lib/tasks.ts";
import { findTool } from "../lib/tools.ts";
import { waitFor } from "../lib/wait.ts";
import { decodeMetrics, leaves } from "../unit/shim/linux/cgroup/message.ts";

const impossible = whyNoContainers();
const MiB = 1 << 20;

/** A container that runc made and has not started. */
interface Box {
  readonly pid: number;
  readonly cgroup: Cgroup;
  start(): Promise<void>;
  delete(): Promise<void>;
}

let boxes = 0;

async function makeBox(command: readonly string[], resources: Record<string, unknown> = {}): Promise<Box> {
  const { dir, token } = processScope();
  const id = `box${++boxes}`;
  const bundle = join(dir, id);
  mkdirSync(join(bundle, "rootfs", "bin"), { recursive: true });
  for (const name of ["proc", "dev", "sys"]) mkdirSync(join(bundle, "rootfs", name));
  writeFileSync(join(bundle, "rootfs/bin/busybox"), readFileSync(findBusybox()), { mode: 0o755 });
  for (const name of ["sh", "sleep", "tail", "dd"]) symlinkSync("busybox", join(bundle, "rootfs/bin", name));
  await run(["runc", "spec", "--bundle", bundle], { check: true });
  const path = join(bundle, "config.json");
  const spec = JSON.parse(readFileSync(path, "utf8"));
  spec.process.terminal = false;
  spec.process.args = command;
  spec.linux.cgroupsPath = `/${token}/${id}`;
  spec.linux.resources = { ...spec.linux.resources, ...resources };
  writeFileSync(path, JSON.stringify(spec));
  const runc = async (...args: string[]): Promise<void> => {
    const log = join(bundle, "log");
    const child = Bun.spawn(["runc", "--root", join(dir, "runc"), "--log", log, ...args], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    if ((await child.exited) !== 0) throw new Error(`runc ${args.join(" ")}: ${readFileSync(log, "utf8")}`);
  };
  const pidFile = join(bundle, "pid");
  await runc("create", "--bundle", bundle, "--pid-file", pidFile, id);
  const pid = Number(readFileSync(pidFile, "utf8"));
  return {
    pid,
    cgroup: findCgroups(pid),
    start: () => runc("start", id),
    delete: () => runc("delete", "--force", id),
  };
}

/** The cgroups that stay until the end of the file: the parent of all boxes, and the reference daemon's namespace. */
function parents(): string[] {
  const { token } = processScope();
  return cgroupRoots().flatMap((path) => [join(path, token), join(path, `${token}-reference`)]);
}

/** A test with containers; what it leaves behind fails it. */
function boxTest(name: string, body: () => Promise<void>): void {
  const guarded = async (): Promise<void> => {
    const look = () => inventory(processScope());
    const before = new Set([...look(), ...parents().map((path) => `cgroup ${path}`)]);
    await body();
    await expectNoLeak(before, look);
  };
  testUnless(impossible, name, guarded, 60_000);
}

const eater = "tail /dev/zero";
const limited = { memory: { limit: 24 * MiB, swap: 24 * MiB } };

async function untilExit(pid: number): Promise<void> {
  await waitFor("init to exit", () => !isAlive(pid), { timeout: 20_000, interval: 2 });
}

boxTest("R19 an OOM kill inside a living container is reported once, with nobody asking", async () => {
  const box = await makeBox(["sh", "-c", `${eater}; sleep 1000`], limited);
  let reports = 0;
  const watch = watchOom(box.cgroup, () => reports++);
  try {
    await box.start();
    await waitFor("the OOM report", () => reports > 0, { timeout: 20_000 });
    await Bun.sleep(1500);
    expect(reports).toBe(1);
    expect(watch.check()).toBe(false);
    expect(isAlive(box.pid)).toBe(true);
  } finally {
    await box.delete();
    watch.close();
  }
});

boxTest("R19 an OOM kill of init is known when its exit is, and reported once", async () => {
  const box = await makeBox(["tail", "/dev/zero"], limited);
  let reports = 0;
  const watch = watchOom(box.cgroup, () => reports++);
  try {
    await box.start();
    // Without a turn of the event loop between the exit and the look, only the look can have seen it.
    while (isAlive(box.pid)) Bun.sleepSync(5);
    expect(reports).toBe(0);
    expect(watch.check()).toBe(true);
    await Bun.sleep(1500);
    expect(reports).toBe(1);
  } finally {
    await box.delete();
    watch.close();
  }
});

boxTest("R19 each OOM kill is reported", async () => {
  const box = await makeBox(["sh", "-c", `${eater}; sleep 0.3; ${eater}; sleep 1000`], limited);
  let reports = 0;
  const watch = watchOom(box.cgroup, () => reports++);
  try {
    await box.start();
    await waitFor("two OOM reports", () => reports === 2, { timeout: 20_000 });
    expect(watch.check()).toBe(false);
  } finally {
    await box.delete();
    watch.close();
  }
});

boxTest("R19 an OOM kill in a child cgroup of the container is reported once", async () => {
  const box = await makeBox(["sleep", "1000"], limited);
  const { cgroup } = box;
  const child = `${cgroup.version === 2 ? cgroup.directory : cgroup.controllers.get("memory")}/child`;
  let reports = 0;
  const watch = watchOom(cgroup, () => reports++);
  mkdirSync(child);
  try {
    await box.start();
    const victim = Bun.spawn(["sh", "-c", `echo $$ > ${child}/cgroup.procs; exec busybox ${eater}`], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    await victim.exited;
    expect(victim.signalCode).toBe("SIGKILL");
    await waitFor("the OOM report", () => reports > 0);
    await Bun.sleep(1500);
    expect(reports).toBe(1);
  } finally {
    rmdirSync(child);
    await box.delete();
    watch.close();
  }
});

boxTest("no OOM: neither exit nor removal of the cgroup is reported; then the statistics are gone", async () => {
  const box = await makeBox(["sh", "-c", "exit 3"], limited);
  let reports = 0;
  const errors: unknown[] = [];
  const watch = watchOom(
    box.cgroup,
    () => reports++,
    (error) => errors.push(error),
  );
  await box.start();
  await untilExit(box.pid);
  expect(decodeMetrics(await readStats(box.cgroup))).toHaveProperty("memory");
  await box.delete();
  await Bun.sleep(100);
  expect({ reports, errors, late: watch.check() }).toEqual({ reports: 0, errors: [], late: false });
  watch.close();
  expect(await outcome(readStats(box.cgroup))).toThrow(CgroupGoneError);
  expect(() => findCgroups(box.pid)).toThrow(CgroupGoneError);
});

boxTest("T-STS-1 the limits and counters are the container's own", async () => {
  const box = await makeBox(["sh", "-c", "dd if=/dev/zero of=/dev/null bs=1M count=200; sleep 1000"], {
    memory: { limit: 64 * MiB, swap: 64 * MiB },
    pids: { limit: 33 },
    cpu: { quota: 90_000, period: 100_000 },
  });
  try {
    await box.start();
    const unified = box.cgroup.version === 2;
    const total = unified ? "cpu.usageUsec" : "cpu.usage.total";
    const read = async () => leaves(decodeMetrics(await readStats(box.cgroup)));
    await waitFor("some CPU time", async () => Number((await read()).get(total) ?? 0) > 0);
    const metrics = await read();
    expect(metrics.get("pids.limit")).toBe(33);
    expect(Number(metrics.get("pids.current"))).toBeGreaterThan(0);
    expect(metrics.get(unified ? "memory.usageLimit" : "memory.usage.limit")).toBe(64 * MiB);
    expect(Number(metrics.get(unified ? "memory.usage" : "memory.usage.usage"))).toBeGreaterThan(0);
  } finally {
    await box.delete();
  }
});

boxTest("reading again and again does not grow memory or open files", async () => {
  const box = await makeBox(["sleep", "1000"]);
  try {
    const rounds = async (count: number): Promise<number> => {
      for (let i = 0; i < count; i++) await readStats(box.cgroup);
      Bun.gc(true);
      return process.memoryUsage.rss();
    };
    // The compiler takes memory for itself at first.
    const early = await rounds(2000);
    const late = await rounds(4000);
    expect(late / early).toBeLessThan(1.1);
  } finally {
    await box.delete();
  }
});

boxTest("ST-9 a process joins an existing cgroup, and only such", async () => {
  const { token } = processScope();
  const parents = isCgroup2() ? ["/sys/fs/cgroup"] : ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"];
  const path = `/${token}-shims`;
  const child = Bun.spawn(["sleep", "1000"], { stdio: ["ignore", "ignore", "ignore"] });
  try {
    for (const parent of parents) mkdirSync(parent + path);
    await joinCgroup(path, child.pid);
    const lines = readFileSync(`/proc/${child.pid}/cgroup`, "utf8").split("\n");
    expect(lines.filter((line) => line.endsWith(`:${path}`))).toHaveLength(parents.length);
    expect(await outcome(joinCgroup(`${path}-none`, child.pid))).toThrow(
      isCgroup2()
        ? `failed to join cgroup ${path}-none`
        : `failed to load cgroup ${path}-none: cgroups: cgroup deleted`,
    );
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    for (const parent of parents) {
      await waitFor(`${parent}${path} to be empty`, () => {
        rmdirSync(parent + path);
        return true;
      });
    }
  }
});

testUnless(impossible ?? (isCgroup2() ? undefined : "needs cgroup v2"), "T-CRE-9 controllers reach the parent", () => {
  const top = `/sys/fs/cgroup/${processScope().token}-tree`;
  const leaf = `${top}/parent/leaf`;
  mkdirSync(leaf, { recursive: true });
  const available = (path: string) => readFileSync(`${path}/cgroup.controllers`, "utf8").trim();
  try {
    expect(available(leaf)).toBe("");
    const cgroup: Cgroup = { version: 2, root: "", mountpoint: "/sys/fs/cgroup", directory: leaf };
    expect(enableControllers(cgroup)).toEqual([]);
    expect(available(leaf)).toBe(available("/sys/fs/cgroup"));
    expect(readFileSync(`${leaf}/cgroup.subtree_control`, "utf8").trim()).toBe("");
    expect(enableControllers(cgroup)).toEqual([]);
  } finally {
    for (const path of [leaf, `${top}/parent`, top]) rmdirSync(path);
  }
});

/** Fields that only a change of limits or of the machine changes: they must be equal. */
const fixed = /limit|Limit|failcnt|pagesize|device|\.op$|major|minor|OomControl|memoryEvents|pids\.|maxUsage$/;

/** Fields that the comparison's older library does not know, or reads as 0 where the kernel has a value. */
const unknownToIt = /psi|Bursts|burst|maxUsage|MaxUsage|oomGroupKill|workingset|hugetlb|cpu\.(usage|user|system)Usec/;

/** The leaves of a message; lists whose order is the directory's, and so anybody's, are sorted. */
function comparable(any: Parameters<typeof decodeMetrics>[0]): ReturnType<typeof leaves> {
  const metrics = decodeMetrics(any);
  const pages = (metrics["hugetlb"] ?? []) as { pagesize?: string }[];
  pages.sort((a, b) => (a.pagesize ?? "").localeCompare(b.pagesize ?? ""));
  return leaves(metrics);
}

boxTest("T-STS-1 the figures are those of containerd's own shim", async () => {
  const { dir, token } = processScope();
  const daemon = new Daemon(join(dir, "reference"), `${token}-reference`);
  try {
    await daemon.start();
    await daemon.importImage();
    const flags = ["--runtime", "io.containerd.runc.v2", "--detach", "--null-io"];
    const limits = ["--memory-limit", String(64 * MiB), "--cpu-quota", "50000", "--cpu-period", "100000"];
    const command = [imageName, "c1", "sh", "-c", "dd if=/bin/busybox of=/copy; sync; sleep 1000"];
    await daemon.ctr(["run", ...flags, ...limits, ...command], { check: true });
    const tasks = new Tasks(daemon);
    const cgroup = findCgroups((await tasks.get("c1")).pid);
    // Compared at rest: nothing has run or been charged for a while.
    let last = "";
    await waitFor(
      "the container to come to rest",
      async () => {
        const { memory, cpu } = decodeMetrics(await readStats(cgroup)) as Record<string, unknown>;
        const now = Bun.inspect([memory, cpu]);
        const rests = now === last;
        last = now;
        return rests;
      },
      { interval: 300, timeout: 20_000 },
    );
    const before = comparable(await readStats(cgroup));
    const { typeUrl, value } = await tasks.metrics("c1");
    const theirs = comparable({ type_url: typeUrl, value });
    const after = comparable(await readStats(cgroup));

    const wrong: string[] = [];
    let equal = 0;
    for (const path of new Set([...before.keys(), ...theirs.keys(), ...after.keys()])) {
      const [a, t, b] = [before.get(path) ?? 0, theirs.get(path) ?? 0, after.get(path) ?? 0];
      if (t === a || t === b) {
        equal++;
      } else if (!(t === 0 && unknownToIt.test(path))) {
        // A page or a tick apart, or one part in twenty.
        const slack = Math.max(256 * 1024, Number(t) / 20);
        const near = typeof t !== "string" && Math.abs(Number(t) - Number(a)) <= slack && !fixed.test(path);
        if (!near) wrong.push(`${path}: ours ${a}, then ${b}; theirs ${t}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(equal).toBeGreaterThan(15);
    expect([...theirs.values()].filter((leaf) => leaf === 64 * MiB).length).toBeGreaterThan(0);
  } finally {
    await daemon.ctr(["tasks", "delete", "--force", "c1"]);
    await daemon.ctr(["containers", "delete", "c1"]);
    await daemon.stop();
    daemon.remove();
  }
});

const tree = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((path) => existsSync(join(path, "cpu.pressure")));

testUnless(
  tree === undefined ? "no cgroup v2 with pressure files" : undefined,
  "T-STS-1 pressure is read",
  async () => {
    const directory = tree ?? "";
    const any = await readStats({ version: 2, root: "", mountpoint: directory, directory });
    const metrics = leaves(decodeMetrics(any));
    const total = (text: string) => Number(/^some .*total=(\d+)/m.exec(text)?.[1]);
    const now = total(readFileSync(join(directory, "cpu.pressure"), "utf8"));
    expect(metrics.get("cpu.psi.some.total")).toBeGreaterThan(0);
    expect(metrics.get("cpu.psi.some.total")).toBeLessThanOrEqual(now);
    expect(Number(metrics.get("cpu.psi.some.total"))).toBeGreaterThan(now - 5_000_000);
  },
);

boxTest("an idle watch costs no wake-up", async () => {
  const box = await makeBox(["sleep", "1000"]);
  try {
    const module = join(root, "shim/linux/cgroup/index.ts");
    const program = `const { findCgroups, watchOom } = await import(${JSON.stringify(module)});
      watchOom(findCgroups(${box.pid}), () => {}); console.log("armed");`;
    const child = Bun.spawn([process.execPath, "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
      // Bun's own timer looks after its heap once a second.
      env: { ...process.env, BUN_GC_TIMER_DISABLE: "1" },
    });
    try {
      await child.stdout.getReader().read();
      const switches = () =>
        Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]);
      // A young process still has its own settling to do.
      await Bun.sleep(2000);
      const before = switches();
      await Bun.sleep(4000);
      expect(switches() - before).toBeLessThanOrEqual(1);
      expect(isAlive(child.pid)).toBe(true);
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  } finally {
    await box.delete();
  }
});

afterAll(() => {
  for (const path of parents()) {
    try {
      rmdirSync(path);
    } catch {
      // Not there in this hierarchy; one that is still busy is swept with the scope.
    }
  }
});

/** The program that runs a command under cgroup v2, if there is one. */
const machine = findTool("with-cgroup2");

const noMachine = isCgroup2()
  ? "this is cgroup v2 already"
  : machine === undefined
    ? "no with-cgroup2 on this machine"
    : process.env["BERTH_TEST_MATRIX"]
      ? "the matrix has rows for it"
      : impossible;

testUnless(
  noMachine,
  "all of this under cgroup v2",
  async () => {
    const file = join(import.meta.dir, "cgroup.test.ts");
    const env: Record<string, string | undefined> = { ...process.env };
    delete env["BERTH_TEST_RUN"];
    const result = await run([machine ?? "", "--timeout", "150", "--", process.execPath, "test", file], {
      timeout: 170_000,
      cwd: root,
      env,
    });
    console.log(
      result.stderr
        .split("\n")
        .filter((line) => /^\(|pass|fail|SKIP|error/.test(line))
        .join("\n"),
    );
    expect(result).toMatchObject({ exitCode: 0, timedOut: false });
  },
  180_000,
);

test("this file speaks of one machine: v1 or v2", () => {
  expect(findCgroups(process.pid).version).toBe(isCgroup2() ? 2 : 1);
});

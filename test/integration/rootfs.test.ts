/** Root file systems as clients ask for them, through real Creates (contract 1.14, UN-1 to UN-3, T-CRE-2, T-DEL-3). */

import { expect } from "bun:test";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../lib/command.ts";
import type { Daemon } from "../lib/daemon.ts";
import { Fifos } from "../lib/fifo.ts";
import { imageName } from "../lib/image.ts";
import { whyNoLoop } from "../lib/loop.ts";
import { isCrun } from "../lib/oci.ts";
import { runtime, testsBerth } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { makeRootfs } from "../lib/spec.ts";
import { type ContainerSuite, containerSuite } from "../lib/suite.ts";
import { RpcError, type Tasks } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

const suite: ContainerSuite = containerSuite();

let made = 0;

/** A directory for the layers of one test. */
function directory(): string {
  const path = join(processScope().dir, `layers${++made}`);
  mkdirSync(path);
  return path;
}

interface Mount {
  type: string;
  source: string;
  options: string[];
}

/** Lines of the host's mount table that speak of a path. */
function mountsOf(path: string): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.filter((line) => line.includes(path));
}

/** Makes a task on these mounts and starts it; answers what it printed at its end. */
async function runOn(tasks: Tasks, id: string, rootfs: Mount[], script: string): Promise<string> {
  const fifos = await Fifos.make();
  const reader = fifos.read();
  await tasks.createContainer(id, imageName, ["sh", "-c", script], runtime);
  await tasks.createTask(id, { stdout: fifos.stdout, stderr: fifos.stdout }, { rootfs });
  await tasks.start(id);
  const text = await reader.end();
  await tasks.finish(id);
  await fifos.remove();
  return text;
}

/** An overlay of busybox and many other layers, each with a file of its own. */
function manyLayers(dir: string, count: number, nameOf: (index: number) => string): Mount {
  const lower = [makeRootfs(join(dir, "base"))];
  for (let i = 0; i < count; i++) {
    const layer = join(dir, nameOf(i));
    mkdirSync(join(layer, "layers"), { recursive: true });
    writeFileSync(join(layer, "layers", `l${i}`), "");
    lower.unshift(layer);
  }
  for (const name of ["upper", "work"]) mkdirSync(join(dir, name));
  const options = [`lowerdir=${lower.join(":")}`, `upperdir=${join(dir, "upper")}`, `workdir=${join(dir, "work")}`];
  return { type: "overlay", source: "overlay", options };
}

const layered = "ls /layers | wc -l; echo mine > /layers/new; cat /layers/new";

for (const [what, nameOf] of [
  ["short names below one directory", (i: number) => `l${i}`],
  ["names too long for one page even so", (i: number) => `layer-${"x".repeat(50)}-${i}`],
] as const) {
  suite.test(`UN-2 an overlay of 120 layers with more than 4096 bytes of options: ${what}`, async ({ tasks, id }) => {
    const dir = directory();
    const overlay = manyLayers(dir, 120, nameOf);
    expect(overlay.options.join(",").length).toBeGreaterThan(4096);
    expect(await runOn(tasks, id(), [overlay], layered)).toBe("120\nmine\n");
    expect(readFileSync(join(dir, "upper", "layers", "new"), "utf8")).toBe("mine\n");
    expect(mountsOf(dir)).toEqual([]);
    rmSync(dir, { recursive: true });
  });
}

suite.test("UN-1 a bind mount is the root, also read-only", async ({ tasks, id }) => {
  const dir = directory();
  const source = makeRootfs(join(dir, "root"));
  const write = "echo mine > /tmp/new && cat /tmp/new || echo refused";
  const bind = (...options: string[]): Mount[] => [{ type: "bind", source, options: ["rbind", ...options] }];
  expect(await runOn(tasks, id(), bind("rw"), write)).toBe("mine\n");
  expect(readFileSync(join(source, "tmp", "new"), "utf8")).toBe("mine\n");
  // Under crun 1.8 a root is writable unless the spec says otherwise, with containerd's own shim too.
  if (!isCrun) expect(await runOn(tasks, id(), bind("ro"), write)).toContain("refused\n");
  rmSync(dir, { recursive: true });
});

/** The error of a Create on these mounts; nothing may be left but the container. */
async function failure(daemon: Daemon, tasks: Tasks, id: string, rootfs: Mount[]): Promise<RpcError> {
  await tasks.createContainer(id, imageName, ["true"], runtime);
  let error: unknown;
  try {
    await tasks.createTask(id, {}, { rootfs });
  } catch (caught) {
    error = caught;
  }
  await tasks.removeContainer(id);
  if (!(error instanceof RpcError)) throw error ?? new Error("the task was made, and should not have been");
  expect(mountsOf(daemon.bundle(id))).toEqual([]);
  return error;
}

suite.test("T-CRE-2 UN-2 a mount that fails takes those before it along", async ({ daemon, tasks, id }) => {
  const dir = directory();
  const source = makeRootfs(join(dir, "root"));
  const good = { type: "bind", source, options: ["rbind", "rw"] };
  const bad: [Mount, RegExp][] = [
    [{ type: "overlay", source: "overlay", options: [`lowerdir=${dir}/none:${dir}/root`] }, /overlay/],
    [{ type: "bind", source: `${dir}/none`, options: ["rbind"] }, /no such file/i],
    [{ type: "nofs", source: "x", options: [] }, /nofs/],
    [{ type: "tmpfs", source: "x", options: ["no-such-option=1"] }, /tmpfs/],
  ];
  for (const [mount, why] of bad) {
    const error = await failure(daemon, tasks, id(), [good, mount]);
    if (testsBerth) expect(error.message).toMatch(why);
  }
  for (const options of testsBerth ? [["uidmap=0:0:1"], ["uidmap=0:x:1", "gidmap=0:0:1"]] : []) {
    const error = await failure(daemon, tasks, id(), [good, { ...good, options: ["rbind", ...options] }]);
    expect(error.code).toBe(3);
    expect(error.message).toContain(options[0] ?? "");
  }
  expect(mountsOf(dir)).toEqual([]);
  rmSync(dir, { recursive: true });
});

suite.test(
  "UN-2 a file system in a file is mounted by a loop device, which is free again afterwards",
  async ({ daemon, tasks, id }) => {
    const dir = directory();
    const root = makeRootfs(join(dir, "root"));
    const image = join(dir, "root.ext4");
    await run(["truncate", "-s", "32M", image], { check: true });
    await run(["mkfs.ext4", "-q", "-d", root, image], { check: true });
    const devices = async (): Promise<string> => (await run(["losetup", "-j", image], { check: true })).stdout.trim();
    const mount = { type: "ext4", source: image, options: ["loop"] };
    for (const [options, wanted] of [
      [["loop"], "written\n"],
      [["ro", "loop"], "read-only\n"],
    ] as const) {
      const script = "echo x 2>/dev/null >/tmp/x && echo written || echo read-only";
      expect(await runOn(tasks, id(), [{ ...mount, options: [...options] }], script)).toBe(wanted);
      await waitFor("the loop device to be free", async () => (await devices()) === "");
    }
    const bad = [
      { ...mount, source: join(dir, "none") },
      { ...mount, type: "no-such-type" },
    ];
    for (const one of bad) await failure(daemon, tasks, id(), [one]);
    expect(await devices()).toBe("");
    rmSync(dir, { recursive: true });
  },
  { skip: whyNoLoop() },
);

suite.test("T-DEL-3 UN-3 what was mounted below the root meanwhile goes with it", async ({ daemon, tasks, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  const rootfs = join(daemon.bundle(c), "rootfs");
  await run(["mount", "-t", "tmpfs", "nested", join(rootfs, "tmp")], { check: true });
  mkdirSync(join(rootfs, "tmp", "deeper"));
  await run(["mount", "-t", "tmpfs", "deeper", join(rootfs, "tmp", "deeper")], { check: true });
  expect(mountsOf(rootfs)).toHaveLength(3);
  await tasks.killAndFinish(c);
  expect(mountsOf(rootfs)).toEqual([]);
});

suite.test("T-DEL-3 a root that somebody is in can be deleted all the same", async ({ daemon, tasks, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  const rootfs = join(daemon.bundle(c), "rootfs");
  const visitor = Bun.spawn(["sleep", "1000"], { cwd: join(rootfs, "tmp"), stdio: ["ignore", "ignore", "ignore"] });
  try {
    await tasks.killAndFinish(c);
    expect(mountsOf(rootfs)).toEqual([]);
  } finally {
    visitor.kill("SIGKILL");
    await visitor.exited;
  }
});

suite.test("UN-3 mounts of the container do not appear on the host", async ({ daemon, tasks, id }) => {
  const c = id();
  const rootfs = join(daemon.bundle(c), "rootfs");
  const inner = "mount -t tmpfs inner /tmp && touch /tmp/done; sleep 1000";
  await daemon.runDetached(c, ["sh", "-c", inner], ["--null-io", "--privileged"]);
  await waitFor("the inner mount", async () => (await daemon.exec(c, ["test", "-e", "/tmp/done"])).exitCode === 0);
  expect(mountsOf(rootfs)).toHaveLength(1);
  await tasks.killAndFinish(c);
});

/** Runtime options, user namespaces and pid namespaces (contract 1.13, 1.14, PR-3): honoured or refused, never ignored. */

import { expect } from "bun:test";
import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { cgroupRoots, isCgroup2 } from "../lib/cgroup.ts";
import { run } from "../lib/command.ts";
import type { EventCollector } from "../lib/events.ts";
import { Fifos } from "../lib/fifo.ts";
import { imageName } from "../lib/image.ts";
import { root, runtime, testsBerth } from "../lib/paths.ts";
import { findShim, isAlive } from "../lib/process.ts";
import { processScope } from "../lib/scope.ts";
import { type PackedOptions, runcOptions, tomlFlags } from "../lib/shim-options.ts";
import { type Spec, writeSpec } from "../lib/spec.ts";
import { containerSuite } from "../lib/suite.ts";
import { RpcError, type Tasks } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite();
const berthOnly = { skip: testsBerth ? undefined : "berth's own promise" };

let made = 0;

/** A directory of one test. */
function directory(): string {
  const path = join(processScope().dir, `options${++made}`);
  mkdirSync(path);
  return path;
}

/** A runc that writes down its calls, and what it wrote. */
function notingRunc(dir: string): { path: string; calls: () => string[] } {
  const path = join(dir, "noting-runc");
  copyFileSync(join(root, "test/fixtures/programs/noting-runc.sh"), path);
  return { path, calls: () => readFileSync(`${path}.calls`, "utf8").trim().split("\n") };
}

/** Options as a client sends them, or ctr's flags for them. */
type Given = PackedOptions | string[];

/** Makes a task with options; it is not started. */
async function create(tasks: Tasks, id: string, command: readonly string[], options: Given): Promise<number> {
  const flags = Array.isArray(options) ? options : [];
  await tasks.createContainer(id, imageName, command, runtime, flags);
  return await tasks.createTask(id, {}, Array.isArray(options) ? {} : { options });
}

/** The error of a task that cannot be made with these options. */
async function refused(tasks: Tasks, id: string, options: Given): Promise<RpcError> {
  try {
    await create(tasks, id, ["true"], options);
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    await tasks.removeContainer(id);
    return error;
  }
  throw new Error("the task was made, and should not have been");
}

suite.test("T-CRE-3 binary_name, root, no_pivot_root and no_new_keyring reach every call of runc", async (context) => {
  const { daemon, tasks, id } = context;
  const dir = directory();
  const runc = notingRunc(dir);
  const c = id();
  const options = { binaryName: runc.path, root: join(dir, "state"), noPivotRoot: true, noNewKeyring: true };
  await create(tasks, c, ["sleep", "1000"], runcOptions(options));
  await tasks.start(c);
  const state = join(dir, "state", daemon.namespace);
  // runc keeps a file state.json there, crun one named status.
  expect(existsSync(join(state, c))).toBe(true);
  await tasks.exec(c, "x", { args: ["true"], cwd: "/", env: ["PATH=/bin"], user: { uid: 0, gid: 0 } });
  await tasks.start(c, "x");
  await tasks.wait(c, "x");
  await tasks.deleteExec(c, "x");
  await tasks.killAndFinish(c);
  const calls = runc.calls();
  for (const verb of ["create", "start", "exec", "kill", "delete"]) {
    expect(calls.find((call) => new RegExp(` ${verb}( |$)`).test(call))).toStartWith(`--root ${state} `);
  }
  const made = calls.find((call) => / create /.test(call));
  expect(made).toContain(" --no-pivot ");
  expect(made).toContain(" --no-new-keyring ");
  expect(existsSync(join(state, c))).toBe(false);
  rmSync(dir, { recursive: true });
});

suite.test("T-CRE-3 without options runc is called without flags for them", async ({ daemon, tasks, id }) => {
  const dir = directory();
  const runc = notingRunc(dir);
  const c = id();
  await create(tasks, c, ["true"], runcOptions({ binaryName: runc.path }));
  await tasks.start(c);
  await tasks.finish(c);
  const made = runc.calls().find((call) => / create /.test(call)) ?? "";
  expect(made).toStartWith(`--root /run/containerd/runc/${daemon.namespace} --log `);
  expect(made).not.toMatch(/no-pivot|no-new-keyring|systemd-cgroup|console-socket/);
  rmSync(dir, { recursive: true });
});

suite.test("DL-3 delete finds the options' root and runc again when the shim was killed", async (context) => {
  const { daemon, tasks, id } = context;
  const dir = directory();
  const runc = notingRunc(dir);
  const c = id();
  await create(tasks, c, ["sleep", "1000"], runcOptions({ binaryName: runc.path, root: join(dir, "state") }));
  const pid = await tasks.start(c);
  process.kill(findShim(daemon.namespace, c)?.pid ?? 0, "SIGKILL");
  await waitFor("the container to be gone", () => !isAlive(pid));
  await waitFor("its state to be gone", () => !existsSync(join(dir, "state", daemon.namespace, c)));
  expect(runc.calls().at(-1)).toContain(" delete --force ");
  await tasks.delete(c).catch(() => undefined);
  await tasks.removeContainer(c);
  rmSync(dir, { recursive: true });
});

/** True where systemd manages cgroups: then systemd_cgroup works, and needs another kind of path. */
const hasSystemd = existsSync("/run/systemd/system");

suite.test(
  "systemd_cgroup without systemd is a clear error",
  async ({ tasks, id }) => {
    const error = await refused(tasks, id(), runcOptions({ systemdCgroup: true }));
    expect(error.message).toContain("OCI runtime create failed: ");
    expect(error.message).toMatch(/systemd|sd-bus/);
  },
  { skip: hasSystemd ? "systemd runs here" : undefined },
);

suite.test(
  "OPT-2 generic options: systemd_cgroup is honoured there too",
  async ({ tasks, id }) => {
    const error = await refused(tasks, id(), tomlFlags("SystemdCgroup = true\n"));
    expect(error.message).toMatch(/systemd|sd-bus/);
  },
  { skip: berthOnly.skip ?? (hasSystemd ? "systemd runs here" : undefined) },
);

suite.test(
  "T-CRE-1 task_api_address, unknown types, unknown names and wrong values are refused by name",
  async ({ tasks, id }) => {
    const wrong: [Given, string | RegExp][] = [
      [runcOptions({ taskApiAddress: "unix:///x" }), "task_api_address"],
      [{ typeUrl: "some.other.Options", value: Uint8Array.of(8, 1) }, "some.other.Options"],
      // containerd 2 reads them itself, and says the second.
      [
        { typeUrl: "containerd.runc.v1.Options", value: Uint8Array.of(0xff, 0xff) },
        /no containerd\.runc\.v1\.Options|invalid wire-format data/,
      ],
      [tomlFlags("NoSuchOption = 1\n"), "NoSuchOption"],
      [tomlFlags('SystemdCgroup = "yes"\n'), "SystemdCgroup"],
      [tomlFlags("IoUid = -1\n"), "IoUid"],
      [tomlFlags("= broken"), "TOML"],
    ];
    for (const [options, name] of wrong) {
      // `start` is given them first, so the code is that of a shim that cannot be started.
      expect((await refused(tasks, id(), options)).message).toMatch(name);
    }
  },
  berthOnly,
);

suite.test("a runc that is not there is named", async ({ tasks, id }) => {
  for (const binaryName of ["/nowhere/runc", "no-such-runc"]) {
    const error = await refused(tasks, id(), runcOptions({ binaryName }));
    expect(error.message).toContain(binaryName);
  }
});

suite.test(
  "ST-9 OPT-2 shim_cgroup of a configuration file puts the shim there, and the container elsewhere",
  async ({ daemon, tasks, id }) => {
    const dir = directory();
    const name = `/${daemon.namespace}-shims`;
    // The hierarchies in which a process of containerd's is moved.
    const parents = isCgroup2() ? cgroupRoots() : cgroupRoots().filter((path) => /\/(memory|pids|freezer)$/.test(path));
    for (const parent of parents) mkdirSync(parent + name);
    try {
      const file = join(dir, "options.toml");
      writeFileSync(file, `ShimCgroup = ${JSON.stringify(name)}\n`);
      const c = id();
      await daemon.runDetached(c, ["sleep", "1000"], ["--null-io", "--runtime-config-path", file]);
      const cgroupsOf = (pid: number) => readFileSync(`/proc/${pid}/cgroup`, "utf8").split("\n");
      const shim = cgroupsOf(findShim(daemon.namespace, c)?.pid ?? 0);
      expect(shim.filter((line) => line.endsWith(`:${name}`))).toHaveLength(parents.length);
      const { pid } = await tasks.get(c);
      expect(cgroupsOf(pid).filter((line) => line.includes(name))).toEqual([]);
      await tasks.killAndFinish(c);
      await waitFor("the shim to leave", () => findShim(daemon.namespace, c) === undefined);

      writeFileSync(file, `ShimCgroup = "${name}-none"\n`);
      const d = id();
      const result = await daemon.run(d, ["true"], ["--rm", "--runtime-config-path", file]);
      expect(result.exitCode).not.toBe(0);
      expect(result.stderr).toContain(`${name}-none`);
      await daemon.ctr(["containers", "delete", d]);
    } finally {
      for (const parent of parents) rmdirSync(parent + name);
      rmSync(dir, { recursive: true });
    }
  },
  berthOnly,
);

/** Maps root of a user namespace to this user of the host. */
const mapped = 100_000;

function inUserNamespace(spec: Spec): void {
  const mapping = [{ containerID: 0, hostID: mapped, size: 65_536 }];
  spec.linux.uidMappings = mapping;
  spec.linux.gidMappings = mapping;
  spec.linux.namespaces.push({ type: "user" });
}

suite.test("IO-8 UN-1 a container in a user namespace of its own runs and writes", async ({ daemon, tasks, id }) => {
  const c = id();
  const fifos = await Fifos.make();
  const out = fifos.read();
  const script = "cat /proc/self/uid_map; id -u; echo again > /dev/stdout; touch /tmp/mine; cat; exit 4";
  const spec = await writeSpec(daemon, c, ["sh", "-c", script], inUserNamespace);
  const rootfs = join(spec, "..", "rootfs");
  await run(["chown", "-R", `${mapped}:${mapped}`, rootfs], { check: true });
  chownSync(join(spec, ".."), mapped, mapped);
  await tasks.createContainer(c, "", [], runtime, ["--config", spec]);
  const options = runcOptions({ ioUid: mapped, ioGid: mapped });
  const pid = await tasks.createTask(c, { ...fifos.inOut, stderr: fifos.stdout }, { rootfs: [], options });
  for (const fd of [0, 1, 2]) expect(statSync(`/proc/${pid}/fd/${fd}`)).toMatchObject({ uid: mapped, gid: mapped });
  await tasks.start(c);
  writeFileSync(fifos.stdin, "typed\n");
  await tasks.closeStdin(c);
  expect(await tasks.finish(c)).toBe(4);
  expect(await out.end()).toMatch(/^ +0 +100000 +65536\n0\nagain\ntyped\n$/);
  expect(statSync(join(rootfs, "tmp", "mine")).uid).toBe(mapped);
  await fifos.remove();
});

suite.test("UN-1 an exec and a terminal work in a user namespace", async ({ daemon, tasks, id }) => {
  const c = id();
  const spec = await writeSpec(daemon, c, ["sleep", "1000"], inUserNamespace);
  await run(["chown", "-R", `${mapped}:${mapped}`, join(spec, "..", "rootfs")], { check: true });
  await tasks.createContainer(c, "", [], runtime, ["--config", spec]);
  const options = runcOptions({ ioUid: mapped, ioGid: mapped });
  await tasks.createTask(c, {}, { rootfs: [], options });
  await tasks.start(c);
  for (const terminal of [false, true]) {
    const fifos = await Fifos.make();
    const out = fifos.read();
    const shell = { args: ["sh", "-c", "id -u; test -t 1; echo $? > /dev/stdout"], cwd: "/", env: ["PATH=/bin"] };
    const io = { stdout: fifos.stdout, stderr: terminal ? "" : fifos.stdout, terminal };
    await tasks.exec(c, "x", { ...shell, user: { uid: 0, gid: 0 }, terminal }, io);
    await tasks.start(c, "x");
    expect(await tasks.wait(c, "x")).toBe(0);
    await tasks.deleteExec(c, "x");
    expect((await out.end()).replaceAll("\r", "")).toBe(terminal ? "0\n0\n" : "0\n1\n");
    await fifos.remove();
  }
  await tasks.killAndFinish(c);
});

/** Init ends while children of it and of an exec still run. */
async function endsFirst(tasks: Tasks, events: EventCollector, c: string): Promise<{ out: string; took: number }> {
  const fifos = await Fifos.make();
  const reader = fifos.read();
  await tasks.createTask(c, { stdout: fifos.stdout, stderr: fifos.stdout });
  await tasks.start(c);
  await tasks.exec(c, "x", { args: ["sleep", "1000"], cwd: "/", env: ["PATH=/bin"], user: { uid: 0, gid: 0 } });
  await tasks.start(c, "x");
  const begun = performance.now();
  await tasks.kill(c, 10);
  expect(await tasks.wait(c)).toBe(7);
  const took = performance.now() - begun;
  expect(await tasks.wait(c, "x")).toBe(137);
  // Nobody holds the output any more.
  const out = await reader.end();
  await waitFor("both exits", () => events.topics(c).filter((topic) => topic === "exit").length === 2);
  await fifos.remove();
  return { out, took };
}

for (const [what, flags] of [
  ["the host's pid namespace", ["--with-ns", `pid:/proc/${process.pid}/ns/pid`]],
  ["a pid namespace of its own", []],
] as const) {
  suite.test(`PR-3 what outlives init is killed, and init's exit is the last: ${what}`, async (context) => {
    const { events, tasks, id } = context;
    const c = id();
    const script = "trap 'exit 7' USR1; (trap '' TERM HUP; sleep 1001) & echo child $!; while :; do usleep 20000; done";
    await tasks.createContainer(c, imageName, ["sh", "-c", script], runtime, [...flags]);
    const { out, took } = await endsFirst(tasks, events, c);
    expect(out).toStartWith("child ");
    expect(took).toBeLessThan(5000);
    const exits = events.of(c).filter((event) => event.topic === "/tasks/exit");
    expect(exits.map((event) => event.body["id"])).toEqual(["x", c]);
    await tasks.deleteExec(c, "x");
    await tasks.delete(c);
    await tasks.removeContainer(c);
  });
}

suite.test("PR-3 a spec without a pid namespace: what outlives init is killed", async ({ daemon, tasks, id }) => {
  const c = id();
  const fifos = await Fifos.make();
  const out = fifos.read();
  const spec = await writeSpec(daemon, c, ["sh", "-c", "sleep 1000 & echo child $!; exit 3"], (spec) => {
    spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "pid");
  });
  await tasks.createContainer(c, "", [], runtime, ["--config", spec]);
  await tasks.createTask(c, { stdout: fifos.stdout, stderr: fifos.stdout }, { rootfs: [] });
  await tasks.start(c);
  expect(await tasks.wait(c)).toBe(3);
  const child = Number((await out.end()).replace("child ", ""));
  await waitFor("the child to be gone", () => !isAlive(child));
  await tasks.finish(c);
  await fifos.remove();
});

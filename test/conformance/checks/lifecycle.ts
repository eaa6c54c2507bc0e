/** The life of a task beyond the table of states: Create, Start, Exec, Wait, Kill, Delete, Shutdown (contract 1.8). */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { codes, equal, holds, matches, refused, stillWaits } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import { nothingLeft } from "../rig/left.ts";
import { findCgroups, findMounts, findProcesses, isAlive } from "../rig/machine.ts";
import type { Any, TaskExit } from "../rig/task.ts";
import { until } from "../rig/wait.ts";
import { bytesField, concat } from "../rig/wire.ts";

const service = "cmd/containerd-shim-runc-v2/task/service.go";
const container = "cmd/containerd-shim-runc-v2/runc/container.go";

/** Waits until nothing is left of a container but its bundle and its shim. */
async function shimAlone(t: Context, shim: Shim): Promise<void> {
  await nothingLeft(t, shim.bundle, () => findProcesses(t.token).filter(({ pid }) => pid !== shim.pid));
}

/** Asserts that a Create fails, that the message says what is wrong, and that nothing is left. */
async function createFails(t: Context, shim: Shim, call: Promise<unknown>, message?: RegExp): Promise<void> {
  const text = await refused("Create", call, 2, 3, 5, 9, 13);
  if (message !== undefined) matches("the message", text, message);
  await shimAlone(t, shim);
  equal("the task_pid of Connect", (await shim.task.connect(shim.id)).taskPid, 0);
}

/** Options as CRI sends them for a runtime that is not containerd's own; `field` 2 is a path, 3 the text itself. */
function genericOptions(t: Context, field: 2 | 3, text: string): Any {
  // It is the shim's own matter what else it reads there than runc's options.
  t.options({});
  const type = "runtimeoptions.v1.Options";
  return { type_url: type, value: concat(bytesField(1, "containerd.runc.v1.Options"), bytesField(field, text)) };
}

export const lifecycle: Section = {
  name: "life of a task",
  checks: [
    {
      id: "T-CRE-2.pid",
      level: "must",
      title: "Create answers the pid of init, which State, Connect and Start repeat.",
      source: service,
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const pid = await shim.create();
        holds("a process with that pid", isAlive(pid), pid);
        equal("the pid of State", (await shim.task.state(shim.id)).pid, pid);
        equal("the task_pid of Connect", (await shim.task.connect(shim.id)).taskPid, pid);
        equal("the pid of Start", await shim.task.start(shim.id), pid);
      },
    },
    {
      id: "T-CRE-2.rootfs",
      level: "must",
      title: "Create mounts rootfs[] on the bundle's rootfs.",
      source: container,
      body: async (t) => {
        const shim = await t.create();
        const path = join(shim.bundle.path, "rootfs");
        equal("the mounts below the bundle", findMounts(path), [path]);
      },
    },
    {
      id: "T-CRE-2.two-mounts",
      level: "must",
      title: "Several mounts of rootfs[] are made in their order.",
      source: "core/mount/mount.go (All)",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        // Not the same twice: where the machine's mounts are shared, the second would come up on that of every other check.
        const below = { type: "tmpfs", source: "tmpfs", options: ["size=64k"] };
        const bind = { type: "bind", source: t.subject.rootfs, options: ["rbind", "ro"] };
        await shim.task.create({ ...shim.createRequest(), rootfs: [below, bind] });
        equal("the number of mounts below the bundle", findMounts(`${shim.bundle.path}/rootfs`).length, 2);
        await shim.task.delete(shim.id);
        equal("the mounts afterwards", findMounts(shim.bundle.path), []);
      },
    },
    {
      id: "T-CRE-4.mount",
      level: "must",
      title: "When the second mount fails, Create fails, and the first is undone.",
      source: container,
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const bind = { type: "bind", source: t.subject.rootfs, options: ["rbind"] };
        const bad = { type: "bind", source: join(t.dir, "no-such-source"), options: ["rbind"] };
        const call = shim.task.create({ ...shim.createRequest(), rootfs: [bind, bad] });
        await createFails(t, shim, call);
      },
    },
    {
      id: "T-CRE-4.command",
      level: "must",
      title: "A command that does not exist makes Create fail with runc's words, which clients look for.",
      source: "cmd/containerd-shim-runc-v2/process/utils.go (getLastRuntimeError); moby daemon/errors.go",
      body: async (t) => {
        const shim = await t.start(t.bundle({ args: ["/no/such/program"] }));
        // runc may find out only when it starts the process.
        const call = shim.create().then(() => shim.task.start(shim.id));
        matches(
          "the message",
          await refused("Create", call, 2, 5, 9),
          /no such file or directory|executable file not found/,
        );
      },
    },
    {
      id: "T-CRE-4.nothing-left",
      level: "must",
      title: "A Create that runc refuses leaves no process, mount, cgroup or state of the runtime.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (Create)",
      body: async (t) => {
        const shim = await t.start(t.bundle({ args: [] }));
        await createFails(t, shim, shim.create());
      },
    },
    {
      id: "T-CRE-4.prefix",
      level: "should",
      title: "What runc refuses is told as `OCI runtime create failed: ...`.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (runtimeError)",
      body: async (t) => {
        const shim = await t.start(t.bundle({ args: [] }));
        matches("the message", await refused("Create", shim.create(), 2), /OCI runtime create failed: .+/);
      },
    },
    {
      id: "T-CRE-4.no-config",
      level: "must",
      title: "A bundle without config.json makes Create fail.",
      source: container,
      body: async (t) => {
        const shim = await t.start(t.bundle());
        Bun.spawnSync(["rm", join(shim.bundle.path, "config.json")]);
        await createFails(t, shim, shim.create());
      },
    },
    {
      id: "T-CRE-4.again",
      level: "must",
      title: "After a Create that failed the same shim can create the container.",
      source: service,
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const bad = { type: "bind", source: join(t.dir, "no-such-source"), options: ["rbind"] };
        await refused("Create", shim.task.create({ ...shim.createRequest(), rootfs: [bad] }), 2, 3, 5, 9, 13);
        await shim.create();
        await shim.task.start(shim.id);
        equal("the status", (await shim.task.state(shim.id)).status, "RUNNING");
      },
    },
    {
      id: "T-CRE-1.options",
      level: "must",
      title: "Options of an unknown type are refused, not ignored.",
      source: "cmd/containerd-shim-runc-v2/runc/container.go (typeurl)",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const options = { type_url: "no.such.Options", value: new Uint8Array([0x0a, 0x01, 0x78]) };
        await createFails(t, shim, shim.task.create({ ...shim.createRequest(), options }));
      },
    },
    {
      id: "T-CRE-1.root",
      level: "must",
      title: "Options.root is where runc has its state, under the namespace.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (NewRunc)",
      body: async (t) => {
        const root = join(t.dir, "runc");
        const options = t.options({ root });
        const shim = await t.create({}, {}, { options });
        const found = existsSync(join(root, t.namespace)) ? readdirSync(join(root, t.namespace)) : [];
        equal("the containers in runc's root", found, [shim.id]);
      },
    },
    {
      id: "T-CRE-1.binary-name",
      level: "must",
      title: "Options.binary_name is the runc that is called.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (NewRunc)",
      body: async (t) => {
        const options = t.options({ binaryName: join(t.dir, "no-such-runc") });
        const shim = await t.start(t.bundle(), { options });
        await createFails(t, shim, shim.create());
      },
    },
    {
      id: "OPT-2.body",
      level: "should",
      title: "Generic options, which every runtime but containerd's own is sent, are read: TOML in their body.",
      source: "api/types/runtimeoptions/v1/api.proto; internal/cri/config (runtime options)",
      body: async (t) => {
        const root = join(t.dir, "runc");
        const options = genericOptions(t, 3, `Root = ${JSON.stringify(root)}\n`);
        const shim = await t.create({}, {}, { options });
        const found = existsSync(join(root, t.namespace)) ? readdirSync(join(root, t.namespace)) : [];
        equal("the containers in runc's root", found, [shim.id]);
      },
    },
    {
      id: "OPT-2.path",
      level: "should",
      title: "Generic options are read from the file that they name.",
      source: "cmd/ctr/commands/run/run_unix.go (runtime-config-path)",
      body: async (t) => {
        const [root, path] = [join(t.dir, "runc"), join(t.dir, "options.toml")];
        await Bun.write(path, `Root = ${JSON.stringify(root)}\n`);
        const shim = await t.create({}, {}, { options: genericOptions(t, 2, path) });
        const found = existsSync(join(root, t.namespace)) ? readdirSync(join(root, t.namespace)) : [];
        equal("the containers in runc's root", found, [shim.id]);
      },
    },
    {
      id: "OPT-2.unknown",
      level: "should",
      title: "An unknown key of generic options is refused by its name, not ignored.",
      source: "contract OPT-2",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const options = genericOptions(t, 3, "NoSuchKey = true\n");
        const call = shim.task.create({ ...shim.createRequest(), options });
        await createFails(t, shim, call, /NoSuchKey/);
      },
    },
    {
      id: "T-CRE-5",
      level: "should",
      title: "A second Create of a container that is there is refused, and leaves it alone.",
      source: "plugins/services/tasks/local.go (AlreadyExists)",
      body: async (t) => {
        const shim = await t.run();
        await refused("Create", shim.create(), 6, 2);
        const { status, pid } = await shim.task.state(shim.id);
        equal("the status", status, "RUNNING");
        holds("init to live", isAlive(pid), pid);
        equal("the mounts below the bundle", findMounts(`${shim.bundle.path}/rootfs`).length, 1);
      },
    },
    {
      id: "T-STA-3.prefix",
      level: "should",
      title: "An exec that runc refuses is told as `OCI runtime exec failed: ...`.",
      source: "cmd/containerd-shim-runc-v2/process/exec.go (runtimeError)",
      body: async (t) => {
        const shim = await t.run();
        const message = await refused("Start", shim.exec("e1", ["/no/such/program"]), 2, 5);
        matches("the message", message, /OCI runtime exec failed: .*(no such file|executable file not found)/s);
      },
    },
    {
      id: "T-STA-6.wait",
      level: "must",
      title: "An exec that failed to start lets its waiters go, and can be deleted.",
      source: "cmd/containerd-shim-runc-v2/process/exec.go (setExited)",
      body: async (t) => {
        const shim = await t.run();
        await shim.task.exec(shim.id, "e1", t.process("/no/such/program"));
        const waiting = shim.task.wait(shim.id, "e1");
        await refused("Start", shim.task.start(shim.id, "e1"), 2, 5);
        const ended = await Promise.race([waiting, Bun.sleep(3000)]);
        holds("Wait to end", ended !== undefined, "no answer after 3 s");
        await shim.task.delete(shim.id, "e1");
      },
    },
    {
      id: "T-STA-6.init-exit",
      level: "must",
      title: "An exec that failed to start does not hold up the exit of init.",
      source: `${service} (runningExecs)`,
      body: async (t) => {
        const shim = await t.run();
        await refused("Start", shim.exec("e1", ["/no/such/program"]), 2, 5);
        await shim.task.kill(shim.id);
        await t.events.wait(shim.id, "exit");
      },
    },
    {
      id: "T-STA-4",
      level: "must",
      title: "An exec that was added is not started once init has exited.",
      source: `${service} (Start)`,
      body: async (t) => {
        const shim = await t.run();
        await shim.task.exec(shim.id, "e1", t.process("sleep", "100"));
        await shim.kill();
        await refused("Start of the exec", shim.task.start(shim.id, "e1"), ...codes.wrongState);
      },
    },
    {
      id: "T-STT-1.fields",
      level: "must",
      title: "State tells the id, the bundle, the stdio and the terminal as Create was given them.",
      source: service,
      body: async (t) => {
        const [stdout, stderr] = [t.reader("out"), t.reader("err")];
        const shim = await t.create({}, { stdout: stdout.path, stderr: stderr.path });
        const state = await shim.task.state(shim.id);
        equal("id, bundle", [state.id, state.bundle], [shim.id, shim.bundle.path]);
        const stdio = [state.stdin, state.stdout, state.stderr, state.terminal];
        equal("stdin, stdout, stderr, terminal", stdio, ["", stdout.path, stderr.path, false]);
        equal("the exit status", state.exitStatus, 0);
      },
    },
    {
      id: "T-STT-2",
      level: "must",
      title: "A running exec shows as PAUSED while its container is paused.",
      source: "cmd/containerd-shim-runc-v2/process/exec.go (Status)",
      body: async (t) => {
        const shim = await t.run();
        await shim.exec("e1", ["sleep", "100"]);
        await shim.task.pause(shim.id);
        equal("the status of the exec", (await shim.task.state(shim.id, "e1")).status, "PAUSED");
        await shim.task.resume(shim.id);
        equal("the status of the exec", (await shim.task.state(shim.id, "e1")).status, "RUNNING");
      },
    },
    {
      id: "T-STT-3",
      level: "must",
      title: "Init that is killed between Create and Start is STOPPED, with its exit status.",
      source: "integration/client/container_linux_test.go (TestIssue9103)",
      body: async (t) => {
        const shim = await t.create();
        const { pid } = await shim.task.state(shim.id);
        process.kill(pid, "SIGKILL");
        const { exitStatus } = await shim.task.wait(shim.id);
        equal("the exit status", exitStatus, 137);
        const state = await shim.task.state(shim.id);
        equal("the status", [state.status, state.exitStatus], ["STOPPED", 137]);
      },
    },
    {
      id: "T-WAI-1.many",
      level: "must",
      title: "Twenty waiters are told the same exit, and so is one that comes later.",
      source: service,
      body: async (t) => {
        const shim = await t.run({ args: t.ending("exit 9") });
        const waiters = await Promise.all(Array.from({ length: 20 }, () => shim.task.wait(shim.id)));
        const late = await shim.task.wait(shim.id);
        for (const exit of waiters) equal<TaskExit>("the exit of a waiter", exit, late);
        equal("the exit status", late.exitStatus, 9);
        const { exitStatus, exitedAt } = await shim.task.state(shim.id);
        equal("the exit of State", { exitStatus, exitedAt }, late);
        const { exitStatus: deleted, exitedAt: at } = await shim.task.delete(shim.id);
        equal("the exit of Delete", { exitStatus: deleted, exitedAt: at }, late);
      },
    },
    {
      id: "T-WAI-1.blocks",
      level: "must",
      title: "Wait has no answer while the process is created, runs or is paused.",
      source: service,
      body: async (t) => {
        const shim = await t.create();
        const waiting = shim.task.wait(shim.id);
        await stillWaits("Wait of a created task", waiting, 100);
        await shim.task.start(shim.id);
        await stillWaits("Wait of a running task", waiting, 100);
        await shim.task.pause(shim.id);
        await stillWaits("Wait of a paused task", waiting, 100);
        await shim.task.resume(shim.id);
        await shim.task.kill(shim.id);
        equal("the exit status", (await waiting).exitStatus, 137);
      },
    },
    {
      id: "T-WAI-1.time",
      level: "must",
      title: "exited_at is when the process ended.",
      source: service,
      body: async (t) => {
        const shim = await t.run();
        const before = Date.now();
        const { exitedAt } = await shim.kill();
        const after = Date.now();
        holds(`a time between ${before} and ${after}`, exitedAt >= before - 1 && exitedAt <= after + 1, exitedAt);
      },
    },
    {
      id: "T-KIL-1.signal",
      level: "must",
      title: "Kill sends the signal that it is asked for.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (kill)",
      body: async (t) => {
        const stdout = t.reader("out");
        const args = t.script("trap 'echo got; sleep 0.3; exit 3' USR1; echo ready; while :; do sleep 0.05; done");
        const shim = await t.run({ args }, t.outputs(stdout));
        await stdout.until("ready");
        await shim.task.kill(shim.id, 10);
        equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 3);
        await stdout.until("got");
      },
    },
    {
      id: "T-KIL-4",
      level: "must",
      title: "Kill with all ends the processes beside init too, when they share the pid namespace of the shim.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (kill --all)",
      body: async (t) => {
        const shim = await t.run({ ownPids: false });
        const pid = await shim.exec("e1", ["sleep", "100"]);
        await shim.task.kill(shim.id, 9, { all: true });
        await shim.task.wait(shim.id, "e1");
        holds("the exec to be gone", !isAlive(pid), `process ${pid} lives`);
      },
    },
    {
      id: "T-KIL-2.init-lives",
      level: "must",
      title: "Kill of an exec leaves init and other execs alone.",
      source: "cmd/containerd-shim-runc-v2/process/exec.go (kill)",
      body: async (t) => {
        const shim = await t.run();
        await shim.exec("e1", ["sleep", "100"]);
        await shim.exec("e2", ["sleep", "100"]);
        await shim.task.kill(shim.id, 9, { execId: "e1" });
        equal("the exit status", (await shim.task.wait(shim.id, "e1")).exitStatus, 137);
        equal("the status of the other", (await shim.task.state(shim.id, "e2")).status, "RUNNING");
        equal("the status of init", (await shim.task.state(shim.id)).status, "RUNNING");
      },
    },
    {
      id: "T-EXE-2",
      level: "must",
      title: "An exec id that is taken is refused with AlreadyExists, and is free again after Delete.",
      source: `${container} (ReserveProcess)`,
      body: async (t) => {
        const shim = await t.run();
        const add = (): Promise<void> => shim.task.exec(shim.id, "e1", t.process("sleep", "100"));
        await add();
        await refused("Exec", add(), ...codes.duplicate);
        await shim.task.delete(shim.id, "e1");
        await add();
      },
    },
    {
      id: "T-EXE-4",
      level: "must",
      title: "Exec makes no process before Start.",
      source: service,
      body: async (t) => {
        const shim = await t.run();
        await shim.task.exec(shim.id, "e1", t.process("sleep", "100"));
        const { pid, status } = await shim.task.state(shim.id, "e1");
        equal("pid, status", [pid, status], [0, "CREATED"]);
      },
    },
    {
      id: "T-EXE-1.spec",
      level: "must",
      title: "An exec runs with the arguments, environment, directory and user of its spec.",
      source: "api/runtime/task/v2/shim.proto (ExecProcessRequest)",
      body: async (t) => {
        const stdout = t.reader("out");
        const shim = await t.run();
        const args = t.script('echo "$WORD $(pwd) $(id -u):$(id -g) $1"');
        const spec = { ...t.process(...args, "sh", "last"), cwd: "/tmp", user: { uid: 7, gid: 8 } };
        const env = [...(spec as unknown as { env: string[] }).env, "WORD=word"];
        await shim.task.exec(shim.id, "e1", { ...spec, env }, t.outputs(stdout));
        await shim.task.start(shim.id, "e1");
        await stdout.until("word /tmp 7:8 last\n");
      },
    },
    {
      id: "T-EXE-1.garbage",
      level: "must",
      title: "An exec whose spec is no process is refused, and the shim lives on.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (exec)",
      body: async (t) => {
        const shim = await t.run();
        const call = shim.task.exec(shim.id, "e1", "this is no process").then(() => shim.task.start(shim.id, "e1"));
        await refused("Exec, or Start", call, 2, 3, 13);
        equal("the status of init", (await shim.task.state(shim.id)).status, "RUNNING");
      },
    },
    {
      id: "T-PID-1",
      level: "must",
      title: "Pids tells all processes of the container, those of an exec with its id.",
      source: `${service} (Pids); moby daemon/top_unix.go`,
      body: async (t) => {
        const shim = await t.run();
        const init = (await shim.task.state(shim.id)).pid;
        const exec = await shim.exec("e1", ["sleep", "100"]);
        const found = await shim.task.pids(shim.id);
        equal("the pids", new Set(found.map(({ pid }) => pid)), new Set([init, exec]));
        const info = found.find(({ pid }) => pid === exec);
        equal("the info of the exec", [info?.typeUrl, info?.execId], ["containerd.runc.v1.ProcessDetails", "e1"]);
      },
    },
    {
      id: "T-UPD-1.limit",
      level: "must",
      title: "Update sets the limits of the container's cgroup.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (update)",
      body: async (t) => {
        const shim = await t.run();
        await shim.task.update(shim.id, { pids: { limit: 77 } });
        const dirs = findCgroups(t.token).filter((path) => path.endsWith(`/${shim.id}`));
        const file = dirs.map((dir) => join(dir, "pids.max")).find((path) => existsSync(path));
        if (file === undefined) return t.skip("there is no pids controller");
        equal("pids.max", readFileSync(file, "utf8").trim(), "77");
      },
    },
    {
      id: "T-PAU-1.frozen",
      level: "must",
      title: "A paused container does nothing, and goes on after Resume.",
      source: "cmd/containerd-shim-runc-v2/process/init_state.go",
      body: async (t) => {
        const stdout = t.reader("out");
        const args = t.script("while :; do echo x; sleep 0.01; done");
        const shim = await t.run({ args }, t.outputs(stdout));
        await stdout.until("x\nx\n");
        await shim.task.pause(shim.id);
        await Bun.sleep(50);
        stdout.read();
        const length = stdout.text.length;
        await Bun.sleep(200);
        stdout.read();
        equal("bytes written while it was paused", stdout.text.length - length, 0);
        await shim.task.resume(shim.id);
        await until("more output", () => {
          stdout.read();
          return stdout.text.length > length;
        });
      },
    },
    {
      id: "T-PAU-3",
      level: "must",
      title: "A paused container can be killed, and ends as STOPPED.",
      source: "cmd/containerd-shim-runc-v2/process/init_state.go (pausedState)",
      body: async (t) => {
        const shim = await t.run();
        await shim.task.pause(shim.id);
        const waiting = shim.task.wait(shim.id);
        await shim.task.kill(shim.id);
        // On cgroup v1 a frozen process dies when it is thawed; containerd's clients resume before they kill.
        const ended = await Promise.race([waiting, Bun.sleep(500)]);
        if (ended === undefined) await shim.task.resume(shim.id);
        equal("the exit status", (await waiting).exitStatus, 137);
        equal("the status", (await shim.task.state(shim.id)).status, "STOPPED");
      },
    },
    {
      id: "T-DEL-2",
      level: "must",
      title: "A second Delete is NotFound.",
      source: service,
      body: async (t) => {
        const shim = await t.run();
        await shim.kill();
        await shim.task.delete(shim.id);
        await refused("Delete", shim.task.delete(shim.id), ...codes.notFound);
      },
    },
    {
      id: "T-DEL-3.nothing-left",
      level: "must",
      title: "Delete leaves no process, mount, cgroup or state of the runtime.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (delete)",
      body: async (t) => {
        const shim = await t.run();
        await shim.exec("e1", ["sleep", "100"]);
        await shim.kill();
        await shim.task.delete(shim.id);
        await shimAlone(t, shim);
      },
    },
    {
      id: "T-DEL-3.bundle",
      level: "must",
      title: "Delete leaves the bundle to containerd.",
      source: "core/runtime/v2/bundle.go",
      body: async (t) => {
        const shim = await t.run();
        await shim.kill();
        await shim.task.delete(shim.id);
        holds("config.json to be there", existsSync(join(shim.bundle.path, "config.json")), "it is gone");
      },
    },
    {
      id: "T-DEL-1.pid",
      level: "must",
      title: "Delete answers the pid that the process had.",
      source: service,
      body: async (t) => {
        const shim = await t.run();
        const init = (await shim.task.state(shim.id)).pid;
        const exec = await shim.exec("e1", ["true"]);
        await shim.task.wait(shim.id, "e1");
        equal("the pid of the exec", (await shim.task.delete(shim.id, "e1")).pid, exec);
        await shim.kill();
        equal("the pid of init", (await shim.task.delete(shim.id)).pid, init);
      },
    },
    {
      id: "T-DEL-5",
      level: "must",
      title: "A Delete that its caller gives up leaves the task deletable: the next one ends it, or finds it gone.",
      source: "containerd#7496, #8981, #9309",
      body: async (t) => {
        const shim = await t.run();
        await shim.exec("e1", t.script("sleep 100 & exit 0"));
        await shim.kill();
        // A millisecond is over before runc has ended.
        const first = shim.task.delete(shim.id, "", { timeoutMs: 1 }).catch((error: Error) => error);
        await Promise.race([first, Bun.sleep(2000)]);
        const again = await shim.task.delete(shim.id).catch((error: unknown) => error);
        if (again instanceof Error) await refused("the second Delete", Promise.reject(again), ...codes.notFound);
        await refused("State afterwards", shim.task.state(shim.id), ...codes.notFound);
        await shimAlone(t, shim);
      },
    },
    {
      id: "T-STT-4",
      level: "must",
      title: "State is answered within 2 s while 20 execs start and end.",
      source: "core/runtime/v2/shim.go (io.containerd.timeout.task.state)",
      alone: true,
      body: async (t) => {
        const shim = await t.run();
        const other = await t.connect(shim.bundle, shim.found);
        const one = async (id: string): Promise<void> => {
          await shim.exec(id, ["true"]);
          await shim.task.wait(shim.id, id);
          await shim.task.delete(shim.id, id);
        };
        const alone = performance.now();
        await one("e");
        // Where the execs alone take that long, there is nothing to learn of the shim.
        const needed = (20 * (performance.now() - alone)) / availableParallelism();
        if (needed > 2000) return t.skip(`20 execs keep this machine busy for ${Math.round(needed)} ms`);
        let busy = true;
        const load = Array.from({ length: 20 }, (_, n) => one(`e${n}`));
        const done = Promise.all(load).finally(() => {
          busy = false;
        });
        let slowest = 0;
        while (busy) {
          const begun = performance.now();
          await other.task.state(shim.id);
          slowest = Math.max(slowest, performance.now() - begun);
          await Bun.sleep(5);
        }
        await done;
        holds("each answer within 2000 ms", slowest < 2000, `${Math.round(slowest)} ms`);
      },
    },
    {
      id: "T-CON-1",
      level: "must",
      title: "Connect answers the shim's pid, for any id.",
      source: service,
      body: async (t) => {
        const shim = await t.run();
        const [own, other] = [await shim.task.connect(shim.id), await shim.task.connect("nobody")];
        equal("the shim_pid for another id", other.shimPid, own.shimPid);
        equal("the task_pid for another id", other.taskPid, 0);
        holds("the shim to live", isAlive(own.shimPid), own.shimPid);
      },
    },
    {
      id: "T-SHU-1.busy",
      level: "must",
      title: "Shutdown does nothing while there is a container.",
      source: `${service} (Shutdown)`,
      body: async (t) => {
        const shim = await t.run();
        await shim.task.shutdown(shim.id);
        await Bun.sleep(200);
        equal("the status", (await shim.task.state(shim.id)).status, "RUNNING");
      },
    },
    {
      id: "T-SHU-1.ends",
      level: "must",
      title: "After the last Delete, Shutdown ends the shim within 3 s.",
      source: "core/runtime/v2/shim.go (io.containerd.timeout.shim.shutdown)",
      body: async (t) => {
        const shim = await t.run();
        await shim.kill();
        await shim.task.delete(shim.id);
        await shim.task.shutdown(shim.id).catch(() => undefined);
        await shim.ended(3000);
      },
    },
  ],
};

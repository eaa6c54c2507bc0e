/**
 * crun by BinaryName, as people configure it: every call for the container goes to it, those of `delete` too. That all
 * other tests pass with crun in runc's place is the matrix's to show.
 */

import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { isCgroup2 } from "../lib/cgroup.ts";
import type { Daemon } from "../lib/daemon.ts";
import { imageName } from "../lib/image.ts";
import { runtime, testsBerth } from "../lib/paths.ts";
import { findShim, isAlive } from "../lib/process.ts";
import { type PackedOptions, runcOptions, tomlFlags } from "../lib/shim-options.ts";
import { containerSuite, type TestContext } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const crun = Bun.which("crun");

/** Why this crun cannot run what this containerd writes; undefined when it can. */
function mismatch(): string | undefined {
  if (crun === null || Bun.which("containerd") === null) return undefined;
  const said = (program: string): string => Bun.spawnSync([program, "--version"]).stdout.toString();
  const spec = /^spec: (\S+)/m.exec(said(crun))?.[1] ?? "";
  const daemon = / v?(\d+)\.\S+/.exec(said("containerd"));
  if (Number(daemon?.[1]) < 2 || spec !== "1.0.0") return undefined;
  return `containerd${daemon?.[0]} writes specs of version 1.2, and this crun knows ${spec}`;
}

const skip = !testsBerth
  ? "the reference refuses generic options"
  : crun === null
    ? "crun is not installed"
    : isCgroup2()
      ? mismatch()
      : "crun refuses a machine with cgroup v1 and v2 side by side";

const suite = containerSuite();

/** A file that crun keeps for a living container, and runc does not. */
function crunState(daemon: Daemon, id: string): string {
  return `/run/containerd/runc/${daemon.namespace}/${id}/status`;
}

/** Starts a container of crun by runc's options, or by generic ones. */
async function start({ daemon, tasks }: TestContext, id: string, options?: PackedOptions): Promise<number> {
  const flags = options === undefined ? tomlFlags('BinaryName = "crun"\n') : [];
  await tasks.createContainer(id, imageName, ["sleep", "1000"], runtime, flags);
  await tasks.createTask(id, {}, options === undefined ? {} : { options });
  expect(existsSync(crunState(daemon, id))).toBe(true);
  return await tasks.start(id);
}

for (const [kind, options] of [
  ["runc's options", runcOptions({ binaryName: crun ?? "" })],
  ["generic options", undefined],
] as const) {
  suite.test(
    `OPT-2 INV-6 BinaryName in ${kind}: crun creates, executes, freezes, counts, kills and deletes`,
    async (context) => {
      const { daemon, tasks } = context;
      const c = context.id();
      const pid = await start(context, c, options);
      expect(await daemon.exec(c, ["sh", "-c", "echo inside; exit 3"])).toMatchObject({
        stdout: "inside\n",
        exitCode: 3,
      });
      expect(await tasks.pids(c)).toEqual([pid]);
      await tasks.pause(c);
      expect((await tasks.get(c)).status).toBe("PAUSED");
      await tasks.resume(c);
      await tasks.update(c, { memory: { limit: 64 << 20 } });
      expect((await tasks.metrics(c)).value.length).toBeGreaterThan(20);
      expect(await tasks.killAndFinish(c)).toBe(137);
      expect(existsSync(crunState(daemon, c))).toBe(false);
    },
    { skip },
  );
}

suite.test(
  "DL-3 BinaryName: after SIGKILL to the shim, delete calls crun and nothing is left",
  async (context) => {
    const { daemon, tasks, events } = context;
    const c = context.id();
    const pid = await start(context, c, runcOptions({ binaryName: crun ?? "" }));
    const shim = findShim(daemon.namespace, c);
    if (shim === undefined) throw new Error("no shim process");
    process.kill(shim.pid, "SIGKILL");
    await events.wait(c, "delete", 1, 15_000);
    await waitFor("the container's process to end", () => !isAlive(pid));
    expect(existsSync(crunState(daemon, c))).toBe(false);
    await waitFor("the bundle to go", () => !existsSync(daemon.bundle(c)));
    await tasks.removeContainer(c);
  },
  { skip },
);

suite.test(
  "RS-1 BinaryName: containerd's restart adopts a container of crun, running or ended meanwhile",
  async (context) => {
    const { daemon, tasks, events } = context;
    const [running, ended] = [context.id(), context.id()];
    const pid = await start(context, running, runcOptions({ binaryName: crun ?? "" }));
    const gone = await start(context, ended, runcOptions({ binaryName: crun ?? "" }));
    await events.stop();
    await daemon.kill();
    process.kill(gone, "SIGKILL");
    await waitFor("the container to end", () => !isAlive(gone));
    await daemon.start();
    await events.start();
    expect(await tasks.get(running)).toMatchObject({ pid, status: "RUNNING" });
    expect(await tasks.pids(running)).toEqual([pid]);
    expect(await tasks.get(ended)).toMatchObject({ status: "STOPPED", exitStatus: 137 });
    expect(await tasks.finish(ended)).toBe(137);
    expect(await tasks.killAndFinish(running)).toBe(137);
  },
  { skip, timeout: 60_000 },
);

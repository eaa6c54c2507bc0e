/** A machine on which something is missing, full or gone (contract INV-6, BN-3, PR-6). */

import { closeSync, mkdirSync, openSync, rmdirSync, symlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { equal, holds } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Shim } from "../rig/context.ts";
import { findCgroups, findMounts } from "../rig/machine.ts";
import { until } from "../rig/wait.ts";

const task = "cmd/containerd-shim-runc-v2/task/service.go";

/** Fills a file system. */
function fill(dir: string): void {
  const file = openSync(join(dir, "filler"), "w");
  const bytes = new Uint8Array(4096);
  try {
    while (writeSync(file, bytes) > 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  } finally {
    closeSync(file);
  }
}

/** An exec runs and is deleted, and so is the container, as containerd does it. */
async function goesOn(shim: Shim): Promise<void> {
  await shim.exec("e1", ["true"]);
  equal("the exit status of an exec", (await shim.task.wait(shim.id, "e1")).exitStatus, 0);
  await shim.task.delete(shim.id, "e1");
  equal("the exit status", (await shim.kill()).exitStatus, 137);
  await shim.finish();
}

export const hardship: Section = {
  name: "hardship",
  checks: [
    {
      id: "INV-6",
      level: "must",
      title: "With a PATH that leads nowhere, runc is found by Options.binary_name.",
      source: "pkg/shim/util.go (Command)",
      body: async (t) => {
        const options = t.options({ binaryName: t.subject.runc });
        const shim = await t.run({}, {}, { options, env: { PATH: join(t.dir, "nowhere") } });
        await goesOn(shim);
      },
    },
    {
      id: "BN-3",
      level: "should",
      title: "A container runs from end to end where /tmp and /var/tmp cannot be written.",
      source: "go-runc/runc.go (Exec)",
      body: async (t) => {
        // In a mount namespace of the shim's own; a bind mount shows what is there, the shim itself perhaps.
        const script =
          'for d in /tmp /var/tmp; do mount --rbind "$d" "$d" && mount -o remount,bind,ro "$d" || exit 9; done; exec "$@"';
        const through = ["unshare", "--mount", "sh", "-c", script, "sh"];
        const tried = await t.call(["--mount", "sh", "-c", script, "sh", "true"], { program: "unshare" });
        if (tried.exitCode !== 0) return t.skip(`/tmp cannot be made read-only: ${tried.stderr.trim()}`);
        const stdout = t.reader("out");
        const shim = await t.run({ args: t.script("echo out; sleep 1000") }, t.outputs(stdout), { through });
        await stdout.until("out\n");
        await goesOn(shim);
      },
    },
    {
      id: "PR-6.log",
      level: "must",
      title: "A shim goes on when the reader of its log is gone and writing it fails with EPIPE.",
      source: "containerd#4509; pkg/shim/shim_linux.go (openLog)",
      body: async (t) => {
        const shim = await t.run({}, {}, { debug: true });
        t.closeLog(shim.bundle);
        for (let n = 0; n < 50; n++) await shim.task.state("nobody").catch(() => undefined);
        await goesOn(shim);
      },
    },
    {
      id: "PR-6.disk",
      level: "must",
      title: "A container whose bundle is on a full disk can be killed and deleted, and its exit is told.",
      source: "contract PR-6",
      body: async (t) => {
        const dir = join(t.dir, "b");
        mkdirSync(dir, { recursive: true });
        const mount = await t.call(["-t", "tmpfs", "-o", "size=1m,mode=711", t.token, dir], { program: "mount" });
        if (mount.exitCode !== 0) return t.skip(`mount: ${mount.stderr.trim()}`);
        const stdout = t.reader("out");
        const args = t.script('trap "sleep 0.3; exit 7" TERM; echo ready; while :; do sleep 0.05; done');
        const shim = await t.run({ args }, t.outputs(stdout));
        await stdout.until("ready\n");
        fill(dir);
        equal("the exit status of Wait", (await shim.kill(15)).exitStatus, 7);
        const { body } = await t.events.wait(shim.id, "exit");
        equal("the exit status that is told", body.exitStatus, 7);
        equal("the exit status of Delete", (await shim.task.delete(shim.id)).exitStatus, 7);
        await shim.task.shutdown(shim.id).catch(() => undefined);
        await shim.ended();
        await t.delete(shim.bundle);
        equal("the mounts below the bundle", findMounts(join(shim.bundle.path, "rootfs")), []);
      },
    },
    {
      id: "PR-6.cgroup",
      level: "must",
      title: "A container whose cgroup somebody has removed after its end can be deleted.",
      source: task,
      body: async (t) => {
        const shim = await t.run();
        const own = (): string[] => findCgroups(t.token).filter((path) => path.endsWith(`/${shim.id}`));
        if (own().length === 0) return t.skip("the container has no cgroup of its own");
        await shim.kill();
        await until("the cgroups to be removable", () => {
          for (const path of own()) {
            try {
              rmdirSync(path);
            } catch {
              // A process of it is not gone yet, or the shim was there first.
            }
          }
          return own().length === 0;
        });
        await shim.finish();
        await t.delete(shim.bundle);
      },
    },
    {
      id: "CP-4",
      level: "must",
      title: "Without criu a checkpoint is refused with a reason, and the container keeps running.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (Checkpoint)",
      body: async (t) => {
        // A PATH with runc alone.
        const bin = join(t.dir, "bin");
        mkdirSync(bin);
        symlinkSync(t.subject.runc, join(bin, "runc"));
        const shim = await t.run({}, {}, { options: t.options({ binaryName: t.subject.runc }), env: { PATH: bin } });
        const image = join(t.dir, "image");
        const ended = await shim.task.checkpoint(shim.id, image).then(
          () => "an answer",
          (error: Error) => error.message,
        );
        holds("a refusal with a reason", ended !== "an answer" && ended.trim() !== "", ended);
        equal("the status", (await shim.task.state(shim.id)).status, "RUNNING");
        await shim.exec("e1", ["true"]);
        equal("the exit status of an exec", (await shim.task.wait(shim.id, "e1")).exitStatus, 0);
      },
    },
  ],
};

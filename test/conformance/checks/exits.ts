/** Exit statuses and signals (contract PR-1 to PR-4). */

import { equal, holds } from "../assert.ts";
import type { Check, Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import { cgroupWith, childrenOf } from "../rig/machine.ts";
import { until } from "../rig/wait.ts";

const reaper = "pkg/sys/reaper/reaper_unix.go";

const codeChecks: readonly Check[] = [0, 1, 42, 127, 255].map((code) => ({
  id: `PR-4.code-${code}`,
  level: "must",
  title: `A process that exits with ${code} has the exit status ${code}, init and exec alike.`,
  source: reaper,
  body: async (t) => {
    const shim = await t.run();
    await shim.exec("e1", t.script(`exit ${code}`));
    equal("the exit status of the exec", (await shim.task.wait(shim.id, "e1")).exitStatus, code);
    const other = await t.run({ args: t.script(`exit ${code}`) });
    equal("the exit status of init", (await other.task.wait(other.id)).exitStatus, code);
  },
}));

const signalChecks: readonly Check[] = (
  [
    ["SIGHUP", 1],
    ["SIGSEGV", 11],
    ["SIGTERM", 15],
    ["SIGKILL", 9],
  ] as const
).map(([name, number]) => ({
  id: `PR-4.${name.toLowerCase()}`,
  level: "must",
  title: `A process that dies by ${name} has the exit status ${128 + number}.`,
  source: reaper,
  body: async (t) => {
    const shim = await t.run();
    const stdout = t.reader("out");
    await shim.exec("e1", t.script("echo ready; exec sleep 100"), t.outputs(stdout));
    // Until then it may still be runc, whose language's runtime makes something else of SIGSEGV.
    await stdout.until("ready\n");
    await shim.task.kill(shim.id, number, { execId: "e1" });
    equal("the exit status of the exec", (await shim.task.wait(shim.id, "e1")).exitStatus, 128 + number);
  },
}));

/** A container that was killed because it ran out of memory. */
async function exhausted(t: Context): Promise<Shim> {
  const args = t.script("sleep 0.2; tail /dev/zero");
  const shim = await t.run({ args, resources: { memory: { limit: 16 << 20, swap: 16 << 20 } } });
  const files = ["memory.oom_control", "memory.events"];
  if (files.every((file) => cgroupWith(shim.bundle.cgroup, file) === undefined))
    t.skip("there is no memory controller");
  equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 137);
  return shim;
}

export const exits: Section = {
  name: "exits",
  checks: [
    ...codeChecks,
    ...signalChecks,
    {
      id: "PR-4.behind-the-back",
      level: "must",
      title: "A process that is killed by somebody else is seen to exit.",
      source: reaper,
      body: async (t) => {
        const shim = await t.run();
        const pid = await shim.exec("e1", ["sleep", "100"]);
        process.kill(pid, "SIGTERM");
        equal("the exit status of the exec", (await shim.task.wait(shim.id, "e1")).exitStatus, 143);
        process.kill((await shim.task.state(shim.id)).pid, "SIGKILL");
        equal("the exit status of init", (await shim.task.wait(shim.id)).exitStatus, 137);
      },
    },
    {
      id: "PR-4.oom",
      level: "must",
      title: "A container that runs out of memory is told of by /tasks/oom, and has the exit status 137.",
      source: "cmd/containerd-shim-runc-v2/task/service.go (oomEvent); CRI's OOMKilled",
      body: async (t) => {
        const shim = await exhausted(t);
        await t.events.wait(shim.id, "oom");
      },
    },
    {
      id: "PR-4.oom-order",
      level: "should",
      title: "/tasks/oom comes before the exit that it explains.",
      source: "containerd#12714",
      body: async (t) => {
        const shim = await exhausted(t);
        await t.events.wait(shim.id, "exit");
        await t.events.wait(shim.id, "oom");
        equal("the events", t.events.topics(shim.id), ["create", "start", "oom", "exit"]);
      },
    },
    {
      id: "PR-1.zombies",
      level: "must",
      title: "Ten execs, and orphans that the shim inherits, leave no zombie.",
      source: reaper,
      body: async (t) => {
        // Without a pid namespace of its own the container's orphans are the shim's.
        const shim = await t.run({ ownPids: false });
        for (let n = 0; n < 10; n++) {
          await shim.exec(`e${n}`, t.script("(sleep 0.05 &) ; exit 0"));
          await shim.task.wait(shim.id, `e${n}`);
          await shim.task.delete(shim.id, `e${n}`);
        }
        const zombies = (): string[] =>
          childrenOf(shim.pid)
            .filter(({ state }) => state === "Z")
            .map(({ pid, command }) => `${pid} ${command}`);
        await Bun.sleep(100);
        await until("no zombie", () => zombies().length === 0, { timeout: 2000, received: () => zombies().join("; ") });
      },
    },
    {
      id: "PR-1.coalesced",
      level: "must",
      title: "Thirty processes that are killed at once are all seen to exit.",
      source: reaper,
      body: async (t) => {
        const shim = await t.run();
        const ids = Array.from({ length: 30 }, (_, index) => `e${index}`);
        const pids = await Promise.all(ids.map((id) => shim.exec(id, ["sleep", "100"])));
        for (const pid of pids) process.kill(pid, "SIGKILL");
        const found = await Promise.all(ids.map(async (id) => (await shim.task.wait(shim.id, id)).exitStatus));
        holds(
          "137 of each",
          found.every((status) => status === 137),
          found,
        );
      },
    },
    {
      id: "PR-2",
      level: "must",
      title: "A process that an exec leaves behind holds up neither the exec's exit nor its Delete for more than 10 s.",
      source: "containerd#7802, #7832 (IO-5)",
      body: async (t) => {
        const stdout = t.reader("out");
        const shim = await t.run();
        await shim.exec("e1", t.script("sleep 100 & echo done"), t.outputs(stdout));
        const begun = performance.now();
        equal("the exit status", (await shim.task.wait(shim.id, "e1")).exitStatus, 0);
        const told = performance.now() - begun;
        holds("the exit within 3 s", told < 3000, `${Math.round(told)} ms`);
        await stdout.until("done\n");
        await shim.task.delete(shim.id, "e1");
        const deleted = performance.now() - begun;
        holds("Delete to end within 12 s", deleted < 12_000, `${Math.round(deleted)} ms`);
      },
    },
  ],
};

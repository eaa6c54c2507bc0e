/** The binary call `delete` (contract 1.3): after an ordinary end, and after SIGKILL of the shim at each step. */

import { existsSync } from "node:fs";
import { equal, holds } from "../assert.ts";
import type { Check, Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import { nothingLeft } from "../rig/left.ts";
import { findProcesses, isAlive } from "../rig/machine.ts";
import { until } from "../rig/wait.ts";

const manager = "cmd/containerd-shim-runc-v2/manager/manager_linux.go (Stop)";

/** How far a container has come when its shim is killed. */
const steps: Readonly<Record<string, (t: Context, shim: Shim) => Promise<void>>> = {
  "before Create": async () => undefined,
  "after Create": async (_, shim) => {
    await shim.create();
  },
  "after Start": async (_, shim) => {
    await shim.create();
    await shim.task.start(shim.id);
  },
  "while it has an exec": async (_, shim) => {
    await shim.create();
    await shim.task.start(shim.id);
    await shim.exec("e1", ["sleep", "100"]);
  },
  "while it is paused": async (_, shim) => {
    await shim.create();
    await shim.task.start(shim.id);
    await shim.task.pause(shim.id);
  },
  "after the exit": async (_, shim) => {
    await shim.create();
    await shim.task.start(shim.id);
    await shim.kill();
  },
  "after Delete": async (_, shim) => {
    await shim.create();
    await shim.task.start(shim.id);
    await shim.kill();
    await shim.task.delete(shim.id);
  },
};

const crashChecks: readonly Check[] = Object.entries(steps).map(([name, step]) => ({
  id: `DL-3.${name.toLowerCase().replaceAll(" ", "-")}`,
  level: "must",
  title: `delete leaves nothing of a container whose shim was killed ${name}.`,
  source: manager,
  body: async (t) => {
    const shim = await t.start(t.bundle());
    await step(t, shim);
    await shim.crash();
    await t.delete(shim.bundle);
    await nothingLeft(t, shim.bundle, () => findProcesses(t.token));
    holds("the bundle to be left to containerd", existsSync(shim.bundle.path), "it is gone");
  },
}));

export const deleteCall: Section = {
  name: "delete",
  checks: [
    ...crashChecks,
    {
      id: "DL-1",
      level: "must",
      title: "delete after an ordinary end succeeds within 5 s.",
      source: "core/runtime/v2/shim.go (cleanupAfterDeadShim)",
      body: async (t) => {
        const shim = await t.run();
        await shim.kill();
        await shim.finish();
        const { call } = await t.delete(shim.bundle);
        holds("an end within 5 s", call.ms < 5000, `${Math.round(call.ms)} ms`);
      },
    },
    {
      id: "DL-2.answer",
      level: "must",
      title: "delete of a container that ran tells its pid, the status 137 and a time.",
      source: manager,
      body: async (t) => {
        const shim = await t.run();
        const { pid } = await shim.task.state(shim.id);
        await shim.crash();
        const answer = await t.delete(shim.bundle);
        equal("pid, exit status", [answer.pid, answer.exitStatus], [pid, 137]);
        const age = Date.now() - answer.exitedAt;
        holds("a time within the last minute", age > -1000 && age < 60_000, `${age} ms ago`);
      },
    },
    {
      id: "DL-6",
      level: "should",
      title: "delete tells the exit status that the process really had.",
      source: "containerd#14113, #4769",
      body: async (t) => {
        const shim = await t.run({ args: t.ending("exit 7") });
        await shim.task.wait(shim.id);
        await t.events.wait(shim.id, "exit");
        await shim.crash();
        equal("the exit status", (await t.delete(shim.bundle)).exitStatus, 7);
      },
    },
    {
      id: "DL-5.twice",
      level: "must",
      title: "delete may be called again.",
      source: manager,
      body: async (t) => {
        const shim = await t.run();
        await shim.crash();
        await t.delete(shim.bundle);
        await t.delete(shim.bundle);
      },
    },
    {
      id: "DL-5.empty",
      level: "must",
      title: "delete of a bundle in which nothing was ever started succeeds.",
      source: manager,
      body: async (t) => {
        equal("the exit status", (await t.delete(t.bundle())).exitStatus, 137);
      },
    },
    {
      id: "DL-2.no-pid",
      level: "should",
      title: "delete of a bundle in which nothing was ever started tells the pid 0.",
      source: "api/runtime/task/v2/shim.proto (DeleteResponse)",
      body: async (t) => {
        equal("the pid", (await t.delete(t.bundle())).pid, 0);
      },
    },
    {
      id: "DL-5.no-config",
      level: "must",
      title: "delete of a bundle without config.json succeeds.",
      source: manager,
      body: async (t) => {
        await t.delete(t.bundle({ config: null }));
      },
    },
    {
      id: "DL-8",
      level: "should",
      title: "delete removes the socket that a killed shim has left.",
      source: "containerd#5173, #10192",
      body: async (t) => {
        const shim = await t.run();
        await shim.crash();
        holds("the socket to be there", shim.hasSocket, "it is gone");
        await t.delete(shim.bundle);
        holds("the socket to be gone", !shim.hasSocket, `${shim.socket} is still there`);
      },
    },
    {
      id: "RS-5",
      level: "must",
      title: "A container outlives its shim, until delete.",
      source: "contract RS-5",
      body: async (t) => {
        const shim = await t.run();
        const { pid } = await shim.task.state(shim.id);
        await shim.crash();
        await Bun.sleep(100);
        holds("init to live", isAlive(pid), `process ${pid} is gone`);
        await t.delete(shim.bundle);
        await until("init to be gone", () => !isAlive(pid));
      },
    },
  ],
};

/** Grouping: one shim for the containers of a pod (contract SK-3, ST-8, DL-4). */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { equal, holds } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import { isAlive } from "../rig/machine.ts";

const manager = "cmd/containerd-shim-runc-v2/manager/manager_linux.go (groupLabels)";
const cri = "io.kubernetes.cri.sandbox-id";
const own = "io.containerd.runc.v2.group";

/** A pod: a first container, and a second that is started with the same group. */
async function pod(t: Context, label: string): Promise<[Shim, Shim]> {
  const first = t.bundle({ annotations: { [label]: "pod" } });
  const second = t.bundle({ annotations: { [label]: "pod" } });
  const a = await t.start(first);
  const b = await t.start(second);
  if (a.pid !== b.pid) t.skip("the shim does not group");
  for (const shim of [a, b]) {
    await shim.create();
    await shim.task.start(shim.id);
  }
  return [a, b];
}

export const grouping: Section = {
  name: "grouping",
  checks: [
    ...[cri, own].map((label): Section["checks"][number] => ({
      id: `SK-3.${label === cri ? "cri" : "runc"}`,
      level: "should",
      title: `Containers with the same ${label} have one shim.`,
      source: manager,
      body: async (t) => {
        const annotations = { [label]: "pod" };
        const [a, b] = [await t.start(t.bundle({ annotations })), await t.start(t.bundle({ annotations }))];
        equal("the shim of the second", b.pid, a.pid);
        equal("the address of the second", b.found.address, a.found.address);
      },
    })),
    {
      id: "SK-3.alone",
      level: "must",
      title: "Containers without a group have shims of their own.",
      source: manager,
      body: async (t) => {
        const [a, b] = [await t.run(), await t.run()];
        holds("two shims", a.pid !== b.pid, `process ${a.pid} serves both`);
        await a.crash();
        equal("the status of the other", (await b.task.state(b.id)).status, "RUNNING");
      },
    },
    {
      id: "ST-8.version",
      level: "must",
      title: "start that answers with a running shim tells the version of that shim.",
      source: "containerd#10888, #11793",
      body: async (t) => {
        const [a, b] = await pod(t, cri);
        equal("the version", b.found.version, a.found.version);
        await b.task.connect(b.id);
      },
    },
    {
      id: "ST-11.group",
      level: "must",
      title: "Each bundle of a group has the file `address`.",
      source: "runtime/v2/shim.go (loadAddress, 1.6)",
      body: async (t) => {
        const shims = await pod(t, cri);
        for (const { bundle, found } of shims) {
          if (found.version > 2) return t.skip(`1.6 and 1.7 refuse version ${found.version}`);
          const path = join(bundle.path, "address");
          holds(`the file ${path}`, existsSync(path), "there is none");
          equal("its content", readFileSync(path, "utf8"), found.address);
        }
      },
    },
    {
      id: "SK-3.apart",
      level: "must",
      title: "Containers of a group are told apart: states, exits and events are their own.",
      source: "cmd/containerd-shim-runc-v2/task/service.go",
      body: async (t) => {
        const [a, b] = await pod(t, cri);
        const states = await Promise.all([a, b].map(({ task, id }) => task.state(id)));
        holds("two pids", states[0]?.pid !== states[1]?.pid, states);
        equal(
          "the bundles",
          states.map(({ bundle }) => bundle),
          [a.bundle.path, b.bundle.path],
        );
        await b.kill();
        await b.task.delete(b.id);
        equal("the status of the first", (await a.task.state(a.id)).status, "RUNNING");
        await t.events.wait(b.id, "delete");
        equal("the events of the first", t.events.topics(a.id), ["create", "start"]);
      },
    },
    {
      id: "T-SHU-1.group",
      level: "must",
      title: "Shutdown for one container of a group leaves the others be.",
      source: "cmd/containerd-shim-runc-v2/task/service.go (Shutdown)",
      body: async (t) => {
        const [a, b] = await pod(t, cri);
        await b.kill();
        await b.task.delete(b.id);
        await b.task.shutdown(b.id).catch(() => undefined);
        await Bun.sleep(200);
        equal("the status of the first", (await a.task.state(a.id)).status, "RUNNING");
      },
    },
    {
      id: "DL-4",
      level: "must",
      title: "delete of one container of a group leaves the shim, its socket and the others be.",
      source: manager,
      body: async (t) => {
        const [a, b] = await pod(t, cri);
        await b.kill();
        await b.task.delete(b.id);
        await t.delete(b.bundle);
        holds("the shim to live", isAlive(a.pid), `process ${a.pid} is gone`);
        holds("its socket to be there", a.hasSocket, `${a.socket} is gone`);
        equal("the status of the first", (await a.task.state(a.id)).status, "RUNNING");
        // And a further container still finds it.
        const third = await t.start(t.bundle({ annotations: { [cri]: "pod" } }));
        equal("the shim of a third", third.pid, a.pid);
      },
    },
    {
      id: "SK-3.ends",
      level: "must",
      title: "A group's shim ends when the last container is deleted and Shutdown is called.",
      source: "cmd/containerd-shim-runc-v2/task/service.go (Shutdown)",
      body: async (t) => {
        const shims = await pod(t, cri);
        for (const shim of shims) {
          await shim.kill();
          await shim.task.delete(shim.id);
          await shim.task.shutdown(shim.id).catch(() => undefined);
          shim.task.connection.close();
        }
        await shims[0].ended();
      },
    },
    {
      id: "SK-7.group",
      level: "should",
      title: "A group's shim removes its socket when it ends.",
      source: "pkg/shim/shim.go",
      body: async (t) => {
        const [a, b] = await pod(t, cri);
        for (const shim of [b, a]) {
          await shim.kill();
          await shim.task.delete(shim.id);
        }
        await a.task.shutdown(a.id).catch(() => undefined);
        for (const shim of [a, b]) shim.task.connection.close();
        await a.ended();
        holds("the socket to be gone", !a.hasSocket, `${a.socket} is still there`);
      },
    },
  ],
};

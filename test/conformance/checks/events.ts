/** Events: their fields, their order, and what becomes of them when containerd is away (contract 1.9). */

import { equal, holds, matches } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import { wide } from "../rig/number.ts";
import { until } from "../rig/wait.ts";

const readme = "docs/runtime-v2.md (events)";
const publisher = "pkg/shim/publisher.go";
const service = "cmd/containerd-shim-runc-v2/task/service.go";

/** Runs a container to its end, deletes it, and waits for its last event. */
async function lifeOf(t: Context, args: string[]): Promise<Shim> {
  const shim = await t.run({ args });
  await shim.task.wait(shim.id);
  await shim.task.delete(shim.id);
  await t.events.wait(shim.id, "delete");
  return shim;
}

/** Waits a moment for events that must not come. */
async function settled(t: Context): Promise<void> {
  const count = t.events.received.length;
  await Bun.sleep(150);
  if (t.events.received.length !== count) await settled(t);
}

export const events: Section = {
  name: "events",
  checks: [
    {
      id: "EV-1.order",
      level: "must",
      title: "A container's events are create, start, exit and delete, each once, in this order.",
      source: readme,
      body: async (t) => {
        const shim = await lifeOf(t, t.script("exit 4"));
        await settled(t);
        equal("the events", t.events.topics(shim.id), ["create", "start", "exit", "delete"]);
      },
    },
    {
      id: "EV-1.envelope",
      level: "must",
      title: "Each event has a time, the namespace, and a type URL without a host.",
      source: publisher,
      body: async (t) => {
        const shim = await lifeOf(t, t.script("exit 4"));
        for (const event of t.events.of(shim.id)) {
          equal("the method", event.method, "containerd.services.events.ttrpc.v1.Events/Forward");
          equal(`the namespace of ${event.topic}`, event.namespace, t.namespace);
          const age = Date.now() - event.timestamp;
          holds(
            `the time of ${event.topic} to be within the last minute`,
            age > -1000 && age < 60_000,
            `${age} ms ago`,
          );
          matches(`the type URL of ${event.topic}`, event.typeUrl, /^containerd\.events\.Task[A-Z]/);
        }
      },
    },
    {
      id: "EV-1.create",
      level: "must",
      title: "TaskCreate has the bundle, the rootfs, the stdio and the pid.",
      source: "api/events/task.proto",
      body: async (t) => {
        const stdout = t.reader("out");
        const shim = await t.create({}, t.outputs(stdout));
        const { body } = await t.events.wait(shim.id, "create");
        equal("the bundle", body.bundle, shim.bundle.path);
        equal("the pid", body.pid, (await shim.task.state(shim.id)).pid);
        equal(
          "the source of the rootfs",
          body.rootfs?.map(({ source }) => source),
          [t.subject.rootfs],
        );
        equal("the stdout", body.io?.stdout, stdout.path);
      },
    },
    {
      id: "EV-1.start",
      level: "must",
      title: "TaskStart has the pid.",
      source: "api/events/task.proto",
      body: async (t) => {
        const shim = await t.run();
        equal("the pid", (await t.events.wait(shim.id, "start")).body.pid, (await shim.task.state(shim.id)).pid);
      },
    },
    {
      id: "EV-1.exit",
      level: "must",
      title: "TaskExit of init has the container's id as its id, the pid, and the exit as Wait tells it.",
      source: "api/events/task.proto; moby daemon/monitor.go",
      body: async (t) => {
        const shim = await t.run({ args: t.ending("exit 4") });
        const exit = await shim.task.wait(shim.id);
        const { body } = await t.events.wait(shim.id, "exit");
        equal("id, exit status", [body.id, body.exitStatus], [shim.id, 4]);
        equal("the pid", body.pid, (await shim.task.state(shim.id)).pid);
        const seconds = wide(body.exitedAt?.seconds);
        equal("the second of the exit", seconds, Math.floor(exit.exitedAt / 1000));
      },
    },
    {
      id: "EV-1.delete",
      level: "must",
      title: "TaskDelete has the pid and the exit.",
      source: "api/events/task.proto",
      body: async (t) => {
        const shim = await t.run({ args: t.ending("exit 4") });
        const { pid } = await shim.task.state(shim.id);
        await shim.task.wait(shim.id);
        await shim.task.delete(shim.id);
        const { body } = await t.events.wait(shim.id, "delete");
        equal("pid, exit status", [body.pid, body.exitStatus], [pid, 4]);
      },
    },
    {
      id: "EV-1.never-started",
      level: "must",
      title: "A container that was never started has the events create and delete; an exit may stand between.",
      source: readme,
      body: async (t) => {
        const shim = await t.create();
        await shim.task.delete(shim.id);
        await t.events.wait(shim.id, "delete");
        await settled(t);
        const topics = t.events.topics(shim.id).filter((topic) => topic !== "exit");
        equal("the events but exit", topics, ["create", "delete"]);
      },
    },
    {
      id: "EV-1.exec",
      level: "must",
      title: "An exec has the events exec-added, exec-started and exit, in this order, with its id and pid.",
      source: readme,
      body: async (t) => {
        const shim = await t.run();
        const pid = await shim.exec("e1", t.script("exit 6"));
        await shim.task.wait(shim.id, "e1");
        const { body } = await t.events.wait(shim.id, "exit:e1");
        equal("pid, exit status", [body.pid, body.exitStatus], [pid, 6]);
        const own = t.events.topics(shim.id).filter((topic) => topic.endsWith(":e1"));
        equal("the events of the exec", own, ["exec-added:e1", "exec-started:e1", "exit:e1"]);
      },
    },
    {
      id: "T-DEL-4.exec",
      level: "should",
      title: "Delete of an exec sends no TaskDelete.",
      source: service,
      body: async (t) => {
        const shim = await t.run();
        await shim.exec("e1", ["true"]);
        await shim.task.wait(shim.id, "e1");
        await shim.task.delete(shim.id, "e1");
        await settled(t);
        const found = t.events.received.filter(({ topic }) => topic === "/tasks/delete");
        equal("the number of TaskDelete", found.length, 0);
      },
    },
    {
      id: "EV-1.paused",
      level: "should",
      title: "Pause and Resume send their events.",
      source: readme,
      body: async (t) => {
        const shim = await t.run();
        await shim.task.pause(shim.id);
        await t.events.wait(shim.id, "paused");
        await shim.task.resume(shim.id);
        await t.events.wait(shim.id, "resumed");
      },
    },
    {
      id: "T-STA-7.init",
      level: "must",
      title: "Of 10 containers that exit at once, each has its start before its exit.",
      source: "containerd#7111, #9719",
      body: async (t) => {
        for (let n = 0; n < 10; n++) {
          const shim = await lifeOf(t, ["true"]);
          equal("the events", t.events.topics(shim.id), ["create", "start", "exit", "delete"]);
        }
      },
    },
    {
      id: "T-STA-7.exec",
      level: "must",
      title: "Of 20 execs at once that exit at once, each has exec-started before its exit.",
      source: "containerd#9828",
      body: async (t) => {
        const shim = await t.run();
        const ids = Array.from({ length: 20 }, (_, index) => `e${index}`);
        await Promise.all(ids.map((id) => shim.exec(id, ["true"])));
        await Promise.all(ids.map((id) => t.events.wait(shim.id, `exit:${id}`, 15_000)));
        const topics = t.events.topics(shim.id);
        for (const id of ids) {
          const own = topics.filter((topic) => topic.endsWith(`:${id}`));
          equal(`the events of ${id}`, own, [`exec-added:${id}`, `exec-started:${id}`, `exit:${id}`]);
        }
      },
    },
    {
      id: "EV-1.init-last",
      level: "must",
      title: "When init is killed, the exits of its execs come before its own.",
      source: `${service} (handleInitExit)`,
      body: async (t) => {
        const shim = await t.run();
        for (const id of ["e1", "e2", "e3"]) await shim.exec(id, ["sleep", "100"]);
        await shim.kill();
        await t.events.wait(shim.id, "exit");
        await settled(t);
        const exits = t.events.topics(shim.id).filter((topic) => topic.startsWith("exit"));
        equal("the number of exits", exits.length, 4);
        equal("the last of them", exits.at(-1), "exit");
      },
    },
    {
      id: "PR-3",
      level: "must",
      title: "Where init shares the shim's pid namespace, its end ends the execs, and their exits come first.",
      source: `${service} (ShouldKillAllOnExit)`,
      body: async (t) => {
        const shim = await t.run({ ownPids: false });
        await shim.exec("e1", ["sleep", "100"]);
        await shim.task.kill(shim.id);
        await t.events.wait(shim.id, "exit");
        const exits = t.events.topics(shim.id).filter((topic) => topic.startsWith("exit"));
        equal("the exits", exits, ["exit:e1", "exit"]);
      },
    },
    {
      id: "T-CRE-7",
      level: "must",
      title: "A Create that fails sends no exit.",
      source: "containerd#4769, #6429",
      body: async (t) => {
        const shim = await t.start(t.bundle({ args: [] }));
        await shim.create().catch(() => undefined);
        await settled(t);
        const topics = t.events.topics(shim.id);
        holds(
          "no start, exit or create",
          topics.every((topic) => topic === "delete"),
          topics,
        );
      },
    },
    {
      id: "EV-2.restart",
      level: "must",
      title: "Events of the seconds in which containerd is away come when it is back, each once and in order.",
      source: publisher,
      body: async (t) => {
        const shim = await t.run();
        await t.events.wait(shim.id, "start");
        t.events.stop();
        await shim.exec("e1", t.script("exit 3"));
        await shim.task.wait(shim.id, "e1");
        await shim.kill();
        await Bun.sleep(1000);
        t.events.start();
        await t.events.wait(shim.id, "exit", 25_000);
        for (const name of ["exec-added:e1", "exec-started:e1", "exit:e1"]) await t.events.wait(shim.id, name, 10_000);
        equal("the number of exits", t.events.topics(shim.id).filter((topic) => topic === "exit").length, 1);
      },
      limit: 60_000,
    },
    {
      id: "EV-3.minute",
      level: "should",
      title: "Events of a minute without containerd, as an upgrade takes, are not lost.",
      source: `${publisher} (gives up after 21 s)`,
      limit: 100_000,
      body: async (t) => {
        const shim = await t.run();
        await t.events.wait(shim.id, "start");
        t.events.stop();
        await shim.kill();
        await Bun.sleep(60_000);
        t.events.start();
        await t.events.wait(shim.id, "exit", 25_000);
      },
    },
    {
      id: "EV-3.order",
      level: "should",
      title: "Events that waited for containerd are not overtaken by later ones.",
      source: publisher,
      limit: 60_000,
      body: async (t) => {
        const shim = await t.run();
        await t.events.wait(shim.id, "start");
        t.events.stop();
        await shim.exec("e1", ["true"]);
        await shim.task.wait(shim.id, "e1");
        await Bun.sleep(500);
        t.events.start();
        await shim.kill();
        await shim.task.delete(shim.id);
        await t.events.wait(shim.id, "delete", 25_000);
        await t.events.wait(shim.id, "exit:e1", 25_000);
        const expected = ["create", "start", "exec-added:e1", "exec-started:e1", "exit:e1", "exit", "delete"];
        equal("the events", t.events.topics(shim.id), expected);
      },
    },
    {
      id: "EV-2.refused",
      level: "should",
      title: "An event that containerd refuses is sent again.",
      source: publisher,
      limit: 40_000,
      body: async (t) => {
        const shim = await t.create();
        await t.events.wait(shim.id, "create");
        t.events.answer = "refuse";
        await shim.task.start(shim.id);
        await until("the event to be sent", () => t.events.calls >= 2);
        t.events.answer = "acknowledge";
        await t.events.wait(shim.id, "start", 20_000);
      },
    },
    {
      id: "EV-2.serves",
      level: "must",
      title: "While containerd takes no events, calls are answered.",
      source: publisher,
      body: async (t) => {
        const shim = await t.create();
        await t.events.wait(shim.id, "create");
        t.events.answer = "wait";
        await shim.task.start(shim.id);
        const exit = await shim.kill();
        equal("the exit status", exit.exitStatus, 137);
        equal("the status", (await shim.task.state(shim.id)).status, "STOPPED");
      },
    },
    {
      id: "EV-5",
      level: "must",
      title: "Events that are queued are sent before the shim ends.",
      source: "cmd/containerd-shim-runc-v2/task/service.go (forward); pkg/shim/shim.go",
      body: async (t) => {
        const shim = await t.run();
        await t.events.wait(shim.id, "start");
        const gate = Promise.withResolvers<void>();
        t.events.gate = gate.promise;
        await shim.kill();
        await shim.task.delete(shim.id);
        const down = shim.task.shutdown(shim.id).catch(() => undefined);
        // One that does not wait for its events ends now; the others have 5 s for them.
        await shim.ended(2500).catch(() => undefined);
        gate.resolve();
        await down;
        shim.task.connection.close();
        await shim.ended();
        equal("the events", t.events.topics(shim.id), ["create", "start", "exit", "delete"]);
      },
    },
  ],
};

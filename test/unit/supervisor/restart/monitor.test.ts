/** The restart monitor with tasks and containers of paper: what it does, and when (R30). */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { notFound } from "../../../../proto/errdefs.ts";
import { containerd } from "../../../../proto/gen/supervisor.js";
import { Exchange } from "../../../../supervisor/event/exchange.ts";
import { silent } from "../../../../supervisor/log/log.ts";
import { type MonitorOptions, RestartMonitor } from "../../../../supervisor/restart/monitor.ts";
import { restartLabels } from "../../../../supervisor/restart/policy.ts";
import { waitFor } from "../../../lib/wait.ts";

const { Status } = containerd.v1.types;
const { TaskExit, TaskStart, ContainerCreate, ContainerUpdate, TaskDelete } = containerd.events;
const GRACE_MS = 150;

interface PaperTask {
  status: number;
  exitStatus: number;
}

/** One namespace with one container. */
class Paper {
  readonly exchange = new Exchange();
  labels: Record<string, string> | undefined;
  task: PaperTask | undefined;
  /** Labels of other containers, by id, and whether their tasks run. */
  readonly others = new Map<string, Record<string, string>>();
  othersRun = false;
  /** When each start was, in milliseconds. */
  readonly starts: number[] = [];
  readonly kills: number[] = [];
  failures = 0;
  /** Whether the bus tells of updates of the container, as the daemon's does. */
  tellsUpdates = false;
  sandbox = "";
  readonly namespaces: { name: string }[] = [];
  /** What tasks were created with. */
  readonly created: Parameters<MonitorOptions["tasks"]["create"]>[2][] = [];
  /** When an attempt to create a task was made. */
  readonly attempts: number[] = [];
  readonly monitor: RestartMonitor;

  constructor(backoff = { min: 20, max: 80, reset: 10_000 }, graceMs = GRACE_MS) {
    const handle = {
      state: async () => ({ ...(this.task as PaperTask) }),
      kill: async () => {
        this.kills.push(performance.now());
        if (this.task) this.task = { status: Status.STOPPED, exitStatus: 137 };
      },
      wait: async () => ({ pid: 1, status: 137, at: undefined }),
      start: async () => {
        this.starts.push(performance.now());
        this.task = { status: Status.RUNNING, exitStatus: 0 };
        return 1;
      },
    };
    const container = () => ({
      id: "c",
      labels: this.labels ?? {},
      snapshotKey: "",
      sandbox: this.sandbox,
      runtime: { name: "r" },
      spec: null,
    });
    const options = {
      tasks: {
        loaded: Promise.resolve(),
        find: (_: string, id: string) => {
          if (id !== "c") return this.othersRun ? { state: async () => ({ status: Status.RUNNING }) } : undefined;
          return this.task === undefined ? undefined : handle;
        },
        list: async () => (this.task === undefined ? [] : [{ ...handle, id: "c", namespace: "n" }]),
        get: async () => handle,
        create: async (...[, , wanted]: Parameters<MonitorOptions["tasks"]["create"]>) => {
          this.attempts.push(performance.now());
          this.created.push(wanted);
          if (this.failures-- > 0) throw new Error("no luck");
          this.task = { status: Status.CREATED, exitStatus: 0 };
          return 1;
        },
        delete: async () => {
          this.task = undefined;
        },
      },
      snapshots: { mounts: async () => [] },
      sandboxes: {
        serving: (_: string, id: string) =>
          id === "" ? undefined : { id, endpoint: { version: 3, protocol: "ttrpc", address: `unix:///${id}` } },
      },
      restoreFiles: () => {},
      configuredOptions: (runtime: string) => ({ type_url: `options of ${runtime}`, value: new Uint8Array([1]) }),
      containers: {
        get: (_: string, id: string) => {
          const other = this.others.get(id);
          if (other !== undefined) return { ...container(), id, labels: other };
          if (this.labels === undefined) throw notFound("container");
          return container();
        },
        list: (name: string) => {
          if (name !== "n") throw notFound("namespace");
          return this.labels === undefined ? [] : [container()];
        },
        update: async (_namespace: string, { labels }: { labels: Record<string, string> }) => {
          this.labels = { ...this.labels, ...labels };
          if (this.tellsUpdates) {
            this.tell("/containers/update", "ContainerUpdate", ContainerUpdate.encode({ id: "c" }).finish());
          }
        },
      },
      namespaces: { list: () => [{ name: "n" }, ...this.namespaces] },
      exchange: this.exchange,
      log: silent,
      backoff,
      graceMs,
    };
    this.monitor = new RestartMonitor(options as unknown as MonitorOptions);
  }

  exit(exitStatus: number): void {
    this.task = { status: Status.STOPPED, exitStatus };
    const value = TaskExit.encode({ containerId: "c", id: "c", pid: 1, exitStatus }).finish();
    this.exchange.publish("n", "/tasks/exit", { name: "containerd.events.TaskExit", value });
  }

  tell(topic: string, name: string, value: Uint8Array): void {
    this.exchange.publish("n", topic, { name: `containerd.events.${name}`, value });
  }

  starting(count: number): Promise<unknown> {
    return waitFor(`start ${count}`, () => this.starts.length >= count, { timeout: 2_000, interval: 5 });
  }
}

let paper: Paper;
beforeEach(() => {
  paper = new Paper();
});
afterEach(() => paper.monitor.stop());

const running = (policy: string) => ({ [restartLabels.status]: "running", [restartLabels.policy]: policy });

test("a container that should run and has no task is started at once after boot", async () => {
  paper.labels = running("always");
  paper.monitor.start();
  await paper.starting(1);
  expect(paper.labels[restartLabels.count]).toBe("1");
});

test("one that is stopped on purpose stays so after boot", async () => {
  paper.labels = { ...running("unless-stopped"), [restartLabels.explicitlyStopped]: "true" };
  paper.monitor.start();
  await Bun.sleep(GRACE_MS);
  expect(paper.starts).toHaveLength(0);
});

describe("an exit", () => {
  beforeEach(async () => {
    paper.labels = running("always");
    paper.task = { status: Status.RUNNING, exitStatus: 0 };
    paper.monitor.start();
    await Bun.sleep(10);
  });

  test("is followed by a start after a wait that doubles", async () => {
    const waits: number[] = [];
    for (let n = 1; n <= 3; n++) {
      const at = performance.now();
      paper.exit(0);
      await paper.starting(n);
      waits.push((paper.starts.at(-1) ?? 0) - at);
    }
    const [first = 0, second = 0, third = 0] = waits;
    expect(first).toBeGreaterThanOrEqual(14);
    expect(second).toBeGreaterThanOrEqual(29);
    expect(third).toBeGreaterThanOrEqual(59);
    expect(paper.labels?.[restartLabels.count]).toBe("3");
  });

  test("is not, when the policy says so", async () => {
    paper.labels = running("on-failure:1");
    paper.exit(0);
    await Bun.sleep(100);
    expect(paper.starts).toHaveLength(0);
    paper.exit(1);
    await paper.starting(1);
    paper.exit(1);
    await Bun.sleep(100);
    expect(paper.starts).toHaveLength(1);
  });

  test("whose task a client has deleted meanwhile counts with the status that was told", async () => {
    paper.labels = running("on-failure");
    paper.exit(7);
    paper.task = undefined;
    paper.tell("/tasks/delete", "TaskDelete", TaskDelete.encode({ containerId: "c", exitStatus: 7 }).finish());
    await paper.starting(1);
  });

  test("is followed by more attempts when a start fails", async () => {
    paper.failures = 2;
    paper.exit(0);
    await paper.starting(1);
    expect(paper.labels?.[restartLabels.count]).toBe("3");
  });

  test("is followed by attempts that come ever less often, also when the monitor hears of its own updates", async () => {
    const slow = new Paper({ min: 100, max: 10_000, reset: 10_000 }, 30);
    slow.tellsUpdates = true;
    slow.failures = 100;
    slow.labels = running("always");
    slow.monitor.start();
    await waitFor("attempts", () => slow.attempts.length >= 3, { timeout: 2_000, interval: 5 });
    await slow.monitor.stop();
    const waits = slow.attempts.slice(1).map((at, n) => at - (slow.attempts[n] ?? 0));
    expect(waits[0]).toBeGreaterThanOrEqual(70);
    expect(waits[1]).toBeGreaterThanOrEqual(145);
  });

  test("of a container without labels is nobody's business", async () => {
    paper.labels = {};
    paper.exit(1);
    await Bun.sleep(100);
    expect(paper.starts).toHaveLength(0);
  });
});

test("a client that has just made a container is left in peace for a while", async () => {
  paper.monitor.start();
  await Bun.sleep(10);
  paper.labels = running("always");
  const at = performance.now();
  paper.tell("/containers/create", "ContainerCreate", ContainerCreate.encode({ id: "c" }).finish());
  await paper.starting(1);
  expect((paper.starts[0] ?? 0) - at).toBeGreaterThanOrEqual(GRACE_MS - 5);
});

test("a client that starts what it has made is not disturbed", async () => {
  paper.monitor.start();
  await Bun.sleep(10);
  paper.labels = running("always");
  paper.tell("/containers/create", "ContainerCreate", ContainerCreate.encode({ id: "c" }).finish());
  await Bun.sleep(20);
  paper.task = { status: Status.RUNNING, exitStatus: 0 };
  await Bun.sleep(GRACE_MS + 50);
  expect(paper.starts).toHaveLength(0);
  expect(paper.kills).toHaveLength(0);
});

test("the label `stopped` ends a running task, after a while", async () => {
  paper.labels = running("always");
  paper.task = { status: Status.RUNNING, exitStatus: 0 };
  paper.monitor.start();
  await Bun.sleep(10);
  paper.labels = { ...paper.labels, [restartLabels.status]: "stopped" };
  const at = performance.now();
  paper.tell("/containers/update", "ContainerUpdate", ContainerUpdate.encode({ id: "c" }).finish());
  await waitFor("the kill", () => paper.kills.length === 1, { timeout: 2_000, interval: 5 });
  expect((paper.kills[0] ?? 0) - at).toBeGreaterThanOrEqual(GRACE_MS - 5);
  await Bun.sleep(50);
  expect(paper.starts).toHaveLength(0);
});

test("a paused task is left alone", async () => {
  paper.labels = running("always");
  paper.task = { status: Status.PAUSED, exitStatus: 0 };
  paper.monitor.start();
  await Bun.sleep(GRACE_MS + 50);
  expect([paper.starts, paper.kills]).toEqual([[], []]);
});

test("a start is given what a client's Create would be: configured options, and the sandbox", async () => {
  paper.labels = running("always");
  paper.sandbox = "pod";
  paper.monitor.start();
  await paper.starting(1);
  expect(paper.created[0]).toMatchObject({
    options: { type_url: "options of r" },
    sandbox: { id: "pod", endpoint: { address: "unix:///pod" } },
  });
});

test("a namespace that has gone does not keep the containers of others from being looked at", async () => {
  paper.namespaces.push({ name: "gone" });
  paper.labels = running("always");
  paper.task = { status: Status.RUNNING, exitStatus: 0 };
  paper.monitor.start();
  await Bun.sleep(20);
  paper.exit(1);
  await paper.starting(1);
});

describe("R30: the monitor", () => {
  test("tells what it knows: restarts, the last exit, the last error, and when it tries again", async () => {
    const one = new Paper({ min: 200, max: 10_000, reset: 10_000 });
    one.labels = running("always");
    one.task = { status: Status.RUNNING, exitStatus: 0 };
    one.monitor.start();
    await Bun.sleep(10);
    one.failures = 1;
    one.exit(3);
    await waitFor("a wait", () => one.monitor.describe("n", "c")?.nextAttemptInMs !== undefined);
    expect(one.monitor.describe("n", "c")).toMatchObject({ restarts: 0, lastExit: 3, hasGivenUp: false });
    expect(one.monitor.describe("n", "c")?.reason).toBe("it ended with exit status 3");
    await one.starting(1);
    await waitFor("the end of the start", () => one.monitor.counts.started === 1);
    expect(one.monitor.describe("n", "c")).toMatchObject({ restarts: 1, lastError: "no luck" });
    expect(one.monitor.counts).toEqual({ started: 1, failed: 1, waiting: 0 });
    await one.monitor.stop();
  });

  test("gives up where the policy says so, and that can be seen", async () => {
    paper.labels = running("on-failure:1");
    paper.task = { status: Status.RUNNING, exitStatus: 0 };
    paper.monitor.start();
    await Bun.sleep(10);
    paper.exit(1);
    await paper.starting(1);
    paper.exit(1);
    await waitFor("the end of patience", () => paper.monitor.describe("n", "c")?.hasGivenUp);
    expect(paper.monitor.describe("n", "c")?.nextAttemptInMs).toBeUndefined();
  });

  test("starts an on-failure container again that a power cut ended, without counting it", async () => {
    paper.labels = { ...running("on-failure:1"), "berth/last-exit": "running", [restartLabels.count]: "0" };
    paper.monitor.start();
    await paper.starting(1);
    expect(paper.labels[restartLabels.count]).toBe("0");
  });

  test("leaves one that had ended well before the power cut", async () => {
    paper.labels = { ...running("on-failure"), "berth/last-exit": "0" };
    paper.monitor.start();
    await Bun.sleep(GRACE_MS);
    expect(paper.starts).toHaveLength(0);
  });

  test("makes the first start of an application's container at once, and no second one where the policy is no", async () => {
    paper.monitor.start();
    await Bun.sleep(10);
    paper.labels = { ...running("no"), "berth/app": "a" };
    const at = performance.now();
    paper.tell("/containers/create", "ContainerCreate", ContainerCreate.encode({ id: "c" }).finish());
    await paper.starting(1);
    expect((paper.starts[0] ?? 0) - at).toBeLessThan(GRACE_MS);
    paper.exit(0);
    await waitFor("the note", () => paper.labels?.["berth/last-exit"] === "0");
    await Bun.sleep(GRACE_MS);
    expect(paper.starts).toHaveLength(1);
  });

  test("waits for what a container depends on, and tells for what", async () => {
    const depends = JSON.stringify([{ id: "db", condition: "started" }]);
    paper.labels = { ...running("always"), "berth/depends-on": depends };
    paper.others.set("db", {});
    paper.monitor.start();
    await waitFor("the wait", () => paper.monitor.describe("n", "c")?.waitingFor.length === 1);
    expect(paper.monitor.describe("n", "c")).toMatchObject({ waitingFor: ["db to start"] });
    expect(paper.monitor.counts.waiting).toBe(1);
    await Bun.sleep(50);
    expect(paper.starts).toHaveLength(0);
    paper.othersRun = true;
    paper.tell("/tasks/start", "TaskStart", TaskStart.encode({ containerId: "db", pid: 2 }).finish());
    await paper.starting(1);
    await waitFor("an end of waiting", () => paper.monitor.describe("n", "c")?.waitingFor.length === 0);
  });

  test("does not wait in a circle", async () => {
    const on = (id: string) => ({ "berth/depends-on": JSON.stringify([{ id, condition: "healthy" }]) });
    paper.labels = { ...running("always"), ...on("db") };
    paper.others.set("db", on("c"));
    paper.monitor.start();
    await paper.starting(1);
  });

  test("restarts what a health check asks it to, whatever the policy, with waits that grow while it is never well", async () => {
    const one = new Paper({ min: 40, max: 10_000, reset: 0 });
    one.labels = {};
    one.task = { status: Status.RUNNING, exitStatus: 0 };
    one.monitor.start();
    await Bun.sleep(10);
    const waits: number[] = [];
    for (let n = 1; n <= 3; n++) {
      const at = performance.now();
      await one.monitor.restart("n", "c", "it is unhealthy", false);
      await one.starting(n);
      waits.push((one.starts.at(-1) ?? 0) - at);
      await waitFor("the end of the start", () => one.monitor.counts.started === n);
    }
    expect(one.kills).toHaveLength(3);
    for (const [n, least] of [28, 58, 118].entries()) expect(waits[n]).toBeGreaterThanOrEqual(least);
    await one.monitor.stop();
  });

  test("starts nothing while the machine goes down, and again when it does not", async () => {
    paper.labels = running("always");
    paper.task = { status: Status.RUNNING, exitStatus: 0 };
    paper.monitor.start();
    await Bun.sleep(10);
    expect(await paper.monitor.halt()).toEqual({ ended: 1, left: 0 });
    paper.exit(143);
    paper.task = undefined;
    await Bun.sleep(100);
    expect(paper.starts).toHaveLength(0);
    await paper.monitor.resume();
    await paper.starting(1);
  });

  test("is not moved by a clock that jumps ten years, forward or back", async () => {
    const { now } = Date;
    const jumps = [10, -10];
    try {
      for (const years of jumps) {
        const one = new Paper({ min: 60, max: 10_000, reset: 10_000 });
        one.labels = running("always");
        one.task = { status: Status.RUNNING, exitStatus: 0 };
        one.monitor.start();
        await Bun.sleep(10);
        const at = performance.now();
        one.exit(1);
        await Bun.sleep(5);
        Date.now = () => now() + years * 31_557_600_000;
        await one.starting(1);
        expect((one.starts[0] ?? 0) - at).toBeGreaterThanOrEqual(44);
        expect(one.starts).toHaveLength(1);
        await one.monitor.stop();
        Date.now = now;
      }
    } finally {
      Date.now = now;
    }
  });
});

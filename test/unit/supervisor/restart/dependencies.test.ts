/** Order of start and of the end (R30, R22). */

import { describe, expect, test } from "bun:test";
import { silent } from "../../../../supervisor/log/log.ts";
import { cyclic, type Facts, parseDependencies, unmet } from "../../../../supervisor/restart/dependencies.ts";
import { hasGivenUp, isFirstStart, lastExitOf, notesExit } from "../../../../supervisor/restart/policy.ts";
import { endAll, type ShutdownOptions } from "../../../../supervisor/restart/shutdown.ts";
import { atOnce, politeStopOf, stopOf } from "../../../../supervisor/restart/stop.ts";

const label = (value: unknown) => ({
  "berth/depends-on": typeof value === "string" ? value : JSON.stringify(value),
});

describe("R30: dependencies", () => {
  test("are read from the label; what is wrong costs them and says so", () => {
    expect(parseDependencies({})).toEqual({ dependencies: [] });
    const good = [{ id: "db", condition: "healthy" }];
    expect(parseDependencies(label(good))).toEqual({ dependencies: good } as never);
    for (const bad of ["{", {}, [1], [null], [{ id: "../x", condition: "started" }], [{ id: "db", condition: "up" }]]) {
      const { dependencies, problem } = parseDependencies(label(bad));
      expect(dependencies).toEqual([]);
      expect(problem).toContain("label berth/depends-on is ignored");
    }
  });

  const running: Facts = { isRunning: true, health: undefined, lastExit: undefined };
  const ended = (lastExit: number | undefined): Facts => ({ isRunning: false, health: undefined, lastExit });
  const rows: ["started" | "healthy" | "completed", Facts | undefined, string | undefined][] = [
    ["started", undefined, "db, which does not exist"],
    ["started", ended(undefined), "db to start"],
    ["started", running, undefined],
    ["healthy", ended(0), "db to start and be healthy"],
    ["healthy", { ...running, health: "starting" }, "db to be healthy (it is starting)"],
    ["healthy", { ...running, health: "unhealthy" }, "db to be healthy (it is unhealthy)"],
    ["healthy", { ...running, health: "healthy" }, undefined],
    ["healthy", running, undefined],
    ["completed", running, "db to end"],
    ["completed", ended(undefined), "db to end"],
    ["completed", ended(3), "db to end well (its last exit status is 3)"],
    ["completed", ended(0), undefined],
  ];
  for (const [condition, facts, what] of rows) {
    test(`${condition}, ${JSON.stringify(facts)}: ${what ?? "met"}`, () => {
      expect(unmet({ id: "db", condition }, facts)).toBe(what);
    });
  }

  test("that lead back are found for each member of the cycle, and for nobody else", () => {
    const graph: Record<string, string[]> = { a: ["b", "x"], b: ["c"], c: ["a"], x: [], y: ["a"], self: ["self"] };
    const of = (id: string) => graph[id] ?? [];
    expect([...cyclic("a", of)]).toEqual(["b"]);
    expect([...cyclic("c", of)]).toEqual(["a"]);
    expect([...cyclic("y", of)]).toEqual([]);
    expect([...cyclic("self", of)]).toEqual(["self"]);
  });
});

describe("the end of all tasks", () => {
  /** Ends tasks of paper; those that hang only end when they are killed. */
  async function endOf(graph: Record<string, string[]>, hanging: readonly string[] = []) {
    const told: string[] = [];
    const signals: string[] = [];
    const tasks = Object.keys(graph).map((id) => {
      const { promise, resolve } = Promise.withResolvers<{ status: number }>();
      return {
        ...{ id, namespace: "n" },
        kill: async (_: string, signal: number) => {
          signals.push(`${id} ${signal}`);
          if (signal === 9 || !hanging.includes(id)) setTimeout(() => resolve({ status: 0 }), 5);
        },
        wait: () => promise,
      };
    });
    const options = {
      tasks: { list: async () => tasks, delete: async ({ id }: { id: string }) => void told.push(id) },
      find: (_: string, id: string) => ({
        labels: {
          ...label((graph[id] ?? []).map((one) => ({ id: one, condition: "started" }))),
          "berth/stop-timeout": "30",
        },
      }),
      log: silent,
    };
    expect(await endAll(options as unknown as ShutdownOptions)).toEqual({ ended: tasks.length, left: 0 });
    return { told, signals };
  }

  test("R22: comes to dependents first, and to those that do not hear at their time", async () => {
    const { told, signals } = await endOf({ db: [], api: ["db"], web: ["api", "db"], other: [] }, ["api"]);
    expect(told.filter((id) => id !== "other")).toEqual(["web", "api", "db"]);
    expect(signals).toContain("api 15");
    expect(signals).toContain("api 9");
    expect(signals).not.toContain("db 9");
  });

  test("does not wait for ever where tasks depend on each other", async () => {
    const { told } = await endOf({ a: ["b"], b: ["c", "a"], c: ["a", "b"] });
    expect(told.toSorted()).toEqual(["a", "b", "c"]);
  });
});

test("a container is asked to end where it says how, and killed at once otherwise", () => {
  expect(stopOf({})).toEqual(atOnce);
  expect(politeStopOf({})).toEqual({ signal: 15, timeoutMs: 10_000 });
  expect(stopOf({ "berth/app": "a" })).toEqual({ signal: 15, timeoutMs: 10_000 });
  expect(stopOf({ "berth/stop-signal": "2", "berth/stop-timeout": "500" })).toEqual({ signal: 2, timeoutMs: 500 });
  expect(stopOf({ "berth/stop-signal": "SIGQUIT" }).signal).toBe(3);
  for (const wrong of ["-1", "x", "", "99"]) expect(stopOf({ "berth/stop-signal": wrong }).signal).toBe(15);
  for (const wrong of ["-1", "x", ""]) expect(stopOf({ "berth/stop-timeout": wrong }).timeoutMs).toBe(10_000);
  expect(stopOf({ "berth/stop-timeout": "1e99" }).timeoutMs).toBe(3_600_000);
});

test("R30: how a container ended is noted where its policy asks, and what nobody saw was no success", () => {
  const labels = (policy: string, more = {}) => ({
    "containerd.io/restart.status": "running",
    "containerd.io/restart.policy": policy,
    ...more,
  });
  expect(
    ["always", "unless-stopped", "", "no", "on-failure", "on-failure:3"].map((one) => notesExit(labels(one))),
  ).toEqual([...[false, false, false], ...[true, true, true]]);
  expect(notesExit({})).toBe(false);
  expect([{}, { "berth/last-exit": "running" }, { "berth/last-exit": "7" }].map(lastExitOf)).toEqual([
    undefined,
    255,
    7,
  ]);
  expect(isFirstStart(labels("no", { "berth/app": "a" }))).toBe(true);
  expect(isFirstStart(labels("no"))).toBe(false);
  expect(isFirstStart(labels("no", { "berth/app": "a", "berth/last-exit": "0" }))).toBe(false);
  const count = { "containerd.io/restart.count": "3" };
  expect(hasGivenUp(labels("on-failure:3", count), 1)).toBe(true);
  expect(hasGivenUp(labels("on-failure:3", count), 0)).toBe(false);
  expect(hasGivenUp(labels("on-failure:4", count), 1)).toBe(false);
  expect(hasGivenUp(labels("always", count), 1)).toBe(false);
});

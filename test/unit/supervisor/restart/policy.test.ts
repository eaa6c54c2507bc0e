/** Restart policies (R30). */

import { describe, expect, test } from "bun:test";
import { Backoff } from "../../../../supervisor/restart/backoff.ts";
import { countOf, parsePolicy, restartLabels, shouldRestart } from "../../../../supervisor/restart/policy.ts";

const labels = (policy: string, more: Record<string, string> = {}): Record<string, string> => ({
  [restartLabels.policy]: policy,
  ...more,
});

test("policies are read as containerd reads them", () => {
  expect(parsePolicy("")).toEqual({ name: "always", maximum: 0 });
  expect(parsePolicy("on-failure")).toEqual({ name: "on-failure", maximum: 0 });
  expect(parsePolicy("on-failure:5")).toEqual({ name: "on-failure", maximum: 5 });
  expect(() => parsePolicy("on-failure:x")).toThrow("invalid max retry count: x");
  expect(() => parsePolicy("always:3")).toThrow('restart policy "always" not support max retry count');
  expect(() => parsePolicy("sometimes")).toThrow('restart policy "sometimes" not supported');
});

describe("whether to restart", () => {
  const rows: [policy: string, more: Record<string, string>, exit: number | undefined, yes: boolean][] = [
    ["no", {}, 1, false],
    ["", {}, 0, true],
    ["always", {}, 0, true],
    ["always", {}, undefined, true],
    ["always", { [restartLabels.explicitlyStopped]: "true" }, 0, true],
    ["unless-stopped", {}, 0, true],
    ["unless-stopped", { [restartLabels.explicitlyStopped]: "false" }, 0, true],
    ["unless-stopped", { [restartLabels.explicitlyStopped]: "true" }, 1, false],
    ["unless-stopped", { [restartLabels.explicitlyStopped]: "1" }, 1, false],
    ["on-failure", {}, 0, false],
    ["on-failure", {}, undefined, false],
    ["on-failure", { [restartLabels.count]: "1000" }, 1, true],
    ["on-failure:2", {}, 137, true],
    ["on-failure:2", { [restartLabels.count]: "1" }, 137, true],
    ["on-failure:2", { [restartLabels.count]: "2" }, 137, false],
  ];
  for (const [policy, more, exit, yes] of rows) {
    test(`${policy || "(empty)"} ${JSON.stringify(more)} after ${exit}: ${yes}`, () => {
      expect(shouldRestart(labels(policy, more), exit)).toEqual({ yes });
    });
  }

  test("a wrong label says what is wrong, and restarts nothing", () => {
    expect(shouldRestart(labels("sometimes"), 1)).toEqual({
      yes: false,
      problem: 'restart policy "sometimes" not supported',
    });
    expect(shouldRestart(labels("on-failure:2", { [restartLabels.count]: "many" }), 1).yes).toBe(false);
    expect(countOf({ [restartLabels.count]: "many" })).toBe(0);
    expect(countOf({ [restartLabels.count]: "7" })).toBe(7);
  });
});

describe("back-off", () => {
  const settings = { min: 100, max: 1_000, reset: 10_000 };

  test("doubles up to the longest, and begins anew after a long run", () => {
    const backoff = new Backoff(settings, () => 0);
    expect([1, 2, 3, 4, 5, 6].map(() => backoff.next())).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    backoff.ran(9_999);
    expect(backoff.next()).toBe(1_000);
    backoff.ran(10_000);
    expect(backoff.next()).toBe(100);
    backoff.ran(undefined);
    expect(backoff.next()).toBe(100);
  });

  test("jitter takes up to a quarter away", () => {
    expect(new Backoff(settings, () => 1).next()).toBe(75);
  });
});

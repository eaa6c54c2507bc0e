/** What health checks make of a container (R30). */

import { describe, expect, test } from "bun:test";
import { type HealthConfig, healthDefaults } from "../../../../supervisor/container/health.ts";
import { commandOf, parseHealth } from "../../../../supervisor/health/config.ts";
import { processOf } from "../../../../supervisor/health/process.ts";
import { type Outcome, Standing } from "../../../../supervisor/health/standing.ts";

const config: HealthConfig = { ...healthDefaults, test: ["CMD", "true"], interval: 1_000, retries: 3 };
const outcome = (result: Outcome["result"]): Outcome => ({ result, exitCode: 1, output: "", at: 0, ms: 1 });
const [good, bad] = [outcome("success"), outcome("failure")];

describe("R30: a standing", () => {
  test("is healthy after one success, unhealthy after as many failures in a row as it is told", () => {
    const standing = new Standing(config);
    expect(standing.status).toBe("starting");
    expect(standing.record(good, 0)).toEqual({ hasChanged: true, isDue: false });
    for (const result of ["failure", "timeout"] as const) {
      expect(standing.record(outcome(result), 0)).toEqual({ hasChanged: false, isDue: false });
    }
    expect(standing.status).toBe("healthy");
    expect(standing.record(outcome("error"), 0)).toEqual({ hasChanged: true, isDue: true });
    expect([standing.status, standing.streak]).toEqual(["unhealthy", 3]);
    expect(standing.record(good, 0)).toEqual({ hasChanged: true, isDue: false });
    expect([standing.status, standing.streak]).toEqual(["healthy", 0]);
  });

  test("that stays unhealthy asks for its action again after as many failures more", () => {
    const standing = new Standing(config);
    const due = Array.from({ length: 7 }, () => standing.record(bad, 0).isDue);
    expect(due).toEqual([false, false, true, false, false, true, false]);
  });

  test("does not count failures while it starts, until it has been well once", () => {
    const standing = new Standing({ ...config, start_period: 10_000, retries: 1 });
    expect(standing.record(bad, 9_999)).toEqual({ hasChanged: false, isDue: false });
    expect([standing.status, standing.streak]).toEqual(["starting", 0]);
    standing.record(good, 100);
    expect(standing.record(bad, 200).isDue).toBe(true);
    const other = new Standing({ ...config, start_period: 10_000, retries: 1 });
    expect(other.record(bad, 10_000).isDue).toBe(true);
  });

  test("of a task that an earlier daemon has started goes on", () => {
    const standing = new Standing({ ...config, start_period: 10_000, retries: 1 }, "healthy");
    expect(standing.status).toBe("healthy");
    expect(standing.record(bad, 0).hasChanged).toBe(true);
  });

  test("spreads checks: the first in the second half of an interval, later ones a tenth sooner or later", () => {
    const [early, late] = [new Standing(config, "starting", () => 0), new Standing(config, "starting", () => 1)];
    expect([early.delay(0), late.delay(0)]).toEqual([500, 1_000]);
    expect([early.delay(0), Math.round(late.delay(0))]).toEqual([900, 1_100]);
  });

  test("is checked more often while it starts", () => {
    const standing = new Standing({ ...config, start_period: 5_000, start_interval: 200 }, "starting", () => 1);
    expect(standing.delay(0)).toBe(200);
    expect(Math.round(standing.delay(4_999))).toBe(220);
    expect(Math.round(standing.delay(5_000))).toBe(1_100);
  });
});

describe("the label", () => {
  test("is read with docker's defaults", () => {
    expect(parseHealth('{"test":["CMD","true"]}')).toEqual({ ...healthDefaults, test: ["CMD", "true"] });
    expect(parseHealth('{"test":["CMD-SHELL","a b"],"interval":0,"retries":2}')).toMatchObject({
      test: ["CMD-SHELL", "a b"],
      interval: 30_000,
      retries: 2,
    });
  });

  test("may say that there is no check", () => {
    for (const text of [undefined, "", '{"test":["NONE"]}', '{"test":[]}']) expect(parseHealth(text)).toBeUndefined();
  });

  test("that is wrong says so", () => {
    const wrong = ["{", "[]", "1", '{"test":"true"}', '{"test":["CMD"]}', '{"test":["RUN","x"]}', '{"test":[1]}'];
    wrong.push('{"test":["CMD","x"],"action":"burn"}', '{"test":["CMD-SHELL","a","b"]}');
    for (const text of wrong) expect(typeof parseHealth(text)).toBe("string");
  });

  test("cannot make the daemon check without a pause, or wait longer than a timer holds", () => {
    const text = JSON.stringify({
      test: ["CMD", "x"],
      interval: 0.001,
      timeout: 1e300,
      retries: 1e9,
      start_period: -1,
    });
    expect(parseHealth(text)).toMatchObject({
      interval: 100,
      timeout: 2 ** 31 - 1,
      retries: 1_000_000,
      start_period: 0,
    });
  });
});

test("a check runs as the container's process does, but for its command and terminal", () => {
  const own = { args: ["web"], env: ["A=b"], cwd: "/srv", user: { uid: 7 }, terminal: true, consoleSize: { width: 1 } };
  const spec = new TextEncoder().encode(JSON.stringify({ process: own }));
  const parsed = parseHealth('{"test":["CMD-SHELL","exit 3"]}');
  const args = typeof parsed === "object" ? commandOf(parsed) : [];
  const { value } = processOf(spec, args);
  expect(JSON.parse(new TextDecoder().decode(value ?? undefined))).toEqual({
    args: ["/bin/sh", "-c", "exit 3"],
    env: ["A=b"],
    cwd: "/srv",
    user: { uid: 7 },
    terminal: false,
  });
  expect(() => processOf(new TextEncoder().encode("{}"), args)).toThrow("has no process");
  expect(() => processOf(undefined, args)).toThrow("cannot be read");
});

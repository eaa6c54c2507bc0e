/** Whether new containers are well: by signs and a clock of paper. */

import { describe, expect, test } from "bun:test";
import { type Expectation, Judge, type Sign } from "../../../../supervisor/app/judge.ts";

const plain: Expectation = {
  ...{ id: "c", isRunning: false, hasCheck: false, mustComplete: false, mayComplete: false, restarts: true },
  limitMs: 5000,
};
const settings = { stableMs: 1000, startMs: 2000 };
const started: Sign = { id: "c", kind: "started" };
const ended = (status: number): Sign => ({ id: "c", kind: "ended", status });
const health = (status: string): Sign => ({ id: "c", kind: "health", status });

/** What becomes of a container: signs at times, and the verdict at the last time. */
function verdict(more: Partial<Expectation>, story: readonly (readonly [number, Sign?])[]): string {
  const judge = new Judge([{ ...plain, ...more }], settings, 0);
  for (const [at, sign] of story) {
    if (sign !== undefined) judge.saw(sign, at);
    judge.tick(at);
  }
  const found = judge.verdict("c");
  return found?.is === "failed" ? found.reason : (found?.is ?? "nothing");
}

const job = { mayComplete: true, restarts: false };

describe("a container is well, or why not", () => {
  for (const [what, more, story, expected] of [
    ["it runs long enough", {}, [[10, started], [1010]], "well"],
    ["it does not run long enough yet", {}, [[10, started], [900]], "pending"],
    ["it ends once, and then runs", {}, [[10, started], [20, ended(1)], [30, started], [1029]], "pending"],
    ["it ends once, and then runs long enough", {}, [[10, started], [20, ended(1)], [30, started], [1030]], "well"],
    [
      "it ends three times",
      {},
      [
        [1, started],
        [2, ended(1)],
        [3, started],
        [4, ended(2)],
        [5, started],
        [6, ended(3)],
      ],
      "ended 3 times, the last time with status 3",
    ],
    [
      "it ends, and nobody starts it again",
      { restarts: false },
      [
        [1, started],
        [2, ended(3)],
      ],
      "ended with status 3",
    ],
    ["it does not start", {}, [[2000]], "did not start within 2 s"],
    [
      "it runs with breaks for too long",
      {},
      [[10, started], [900, ended(1)], [2000, started], [2900, ended(1)], [5010]],
      "did not keep running within 5 s",
    ],
    [
      "a job that has ended",
      job,
      [
        [1, started],
        [2, ended(0)],
      ],
      "well",
    ],
    [
      "a job that failed",
      job,
      [
        [1, started],
        [2, ended(1)],
      ],
      "ended with status 1",
    ],
    ["a job that runs on", job, [[1, started], [1001]], "well"],
    ["a job that others wait for, and that runs on", { ...job, mustComplete: true }, [[1, started], [1001]], "pending"],
    [
      "a job that others wait for, and that ended",
      { ...job, mustComplete: true },
      [[1, started], [1001], [2000, ended(0)]],
      "well",
    ],
    [
      "a job that others wait for too long",
      { ...job, mustComplete: true },
      [[1, started], [5001]],
      "did not end within 5 s",
    ],
    [
      "a job that is tried again",
      { mayComplete: true },
      [
        [1, started],
        [2, ended(1)],
        [3, started],
        [4, ended(0)],
      ],
      "well",
    ],
    [
      "its check says so",
      { hasCheck: true },
      [
        [1, started],
        [2, health("starting")],
        [900, health("healthy")],
      ],
      "well",
    ],
    [
      "its check says no",
      { hasCheck: true },
      [
        [1, started],
        [2, health("unhealthy")],
      ],
      "is unhealthy",
    ],
    [
      "what an earlier check has found is no verdict",
      { hasCheck: true, check: "new" },
      [
        [1, started],
        [2, { id: "c", kind: "health", status: "healthy", check: "old" }],
        [3, { id: "c", kind: "health", status: "unhealthy", check: "new" }],
      ],
      "is unhealthy",
    ],
    ["its check says nothing", { hasCheck: true }, [[1, started], [1500], [5001]], "did not become healthy within 5 s"],
    [
      "a check that is not its own",
      {},
      [
        [1, started],
        [2, health("unhealthy")],
      ],
      "pending",
    ],
    [
      "it is removed",
      {},
      [
        [1, started],
        [2, { id: "c", kind: "removed" }],
      ],
      "was removed by somebody else",
    ],
    [
      "what is told of its predecessor",
      { hasCheck: true },
      [
        [1, ended(1)],
        [1, health("unhealthy")],
        [1, { id: "c", kind: "removed" }],
      ],
      "pending",
    ],
    ["another container", {}, [[1, { id: "d", kind: "started" }], [2000]], "did not start within 2 s"],
    ["one that runs already", { isRunning: true, hasCheck: true }, [[1, health("healthy")]], "well"],
  ] as const satisfies readonly (readonly [
    string,
    Partial<Expectation>,
    readonly (readonly [number, Sign?])[],
    string,
  ])[]) {
    test(`${what}: ${expected}`, () => expect(verdict(more, story)).toBe(expected));
  }
});

test("what is due next, and what is left", () => {
  const judge = new Judge([plain, { ...plain, id: "d", hasCheck: true }], settings, 100);
  expect(judge.due).toBe(2100);
  judge.saw(started, 200);
  expect(judge.hasStarted).toBe(true);
  expect(judge.due).toBe(1200);
  judge.tick(1200);
  expect(judge.pending).toEqual(["d"]);
  expect(judge.due).toBe(2100);
  judge.tick(2100);
  expect(judge.failure).toEqual({ id: "d", reason: "did not start within 2 s" });
  expect(judge.due).toBeUndefined();
});

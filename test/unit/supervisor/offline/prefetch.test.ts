/** R29: images of the list are fetched until they are there, and not more often than is good. */

import { afterEach, expect, test } from "bun:test";
import { Prefetch } from "../../../../supervisor/offline/prefetch.ts";
import { waitFor } from "../../../lib/wait.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} } as unknown as ConstructorParameters<
  typeof Prefetch
>[0]["log"];
const open: Prefetch[] = [];
afterEach(async () => {
  for (const prefetch of open.splice(0)) await prefetch.close();
});

/** A list; `failures` says how often each image fails first. */
function listOf(failures: Readonly<Record<string, number>>, firstWaitMs = 20) {
  const there = new Set<string>();
  const tried: { reference: string; at: number }[] = [];
  const left = { ...failures };
  const prefetch = new Prefetch({
    ...{ log, firstWaitMs },
    has: (reference) => Promise.resolve(there.has(reference)),
    async fetch(reference, signal, moved) {
      tried.push({ reference, at: performance.now() });
      moved(1, 2);
      if ((left[reference] ?? 0) === Number.POSITIVE_INFINITY) {
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      }
      if ((left[reference] ?? 0) > 0) {
        left[reference] = (left[reference] ?? 0) - 1;
        throw new Error("no network");
      }
      there.add(reference);
    },
    onArrived: () => undefined,
  });
  open.push(prefetch);
  const stateOf = (reference: string) => prefetch.state.find((image) => image.reference === reference);
  return { prefetch, tried, there, stateOf };
}

test("R29: what cannot be fetched is tried again, each time after a longer wait", async () => {
  const name = "registry.local/app:1";
  const { prefetch, tried, stateOf } = listOf({ [name]: 4 });
  prefetch.want([name]);
  await waitFor("the image", () => stateOf(name)?.state === "there");
  expect(tried).toHaveLength(5);
  const waits = tried.slice(1).map(({ at }, i) => at - (tried[i]?.at ?? 0));
  // Doubled from 20 ms, a quarter by chance: never shorter than this.
  for (const [i, wait] of waits.entries()) expect(wait).toBeGreaterThanOrEqual(20 * 2 ** i * 0.75 - 2);
  expect(stateOf(name)).toMatchObject({ attempts: 0, error: "", retryMs: 0 });
});

test("R29: one that fails does not keep the others, and the failure is told", async () => {
  const { prefetch, stateOf } = listOf({ "docker.io/library/a:latest": 1000 }, 10_000);
  prefetch.want(["a", "b", "no such NAME!"]);
  await waitFor("the other", () => stateOf("docker.io/library/b:latest")?.state === "there");
  expect(stateOf("docker.io/library/a:latest")).toMatchObject({ state: "waiting", attempts: 1, error: "no network" });
  expect(stateOf("docker.io/library/a:latest")?.retryMs).toBeGreaterThan(1000);
  expect(stateOf("no such NAME!")).toMatchObject({ state: "refused" });
});

test("R29: what is there is not fetched; a retry fetches what went missing, and does not wait", async () => {
  const { prefetch, tried, there, stateOf } = listOf({ "docker.io/library/b:latest": 1 }, 60_000);
  there.add("docker.io/library/a:latest");
  prefetch.want(["a", "b"]);
  await waitFor("both", () => prefetch.state.every(({ state }) => state === "there" || state === "waiting"));
  await waitFor("the failure", () => stateOf("docker.io/library/b:latest")?.attempts === 1);
  expect(tried.map(({ reference }) => reference)).toEqual(["docker.io/library/b:latest"]);
  there.delete("docker.io/library/a:latest");
  prefetch.retry();
  await waitFor("all", () => prefetch.state.every(({ state }) => state === "there"));
  expect(there.size).toBe(2);
});

test("what is no longer wanted is forgotten, and a daemon that ends waits for nothing", async () => {
  const { prefetch, stateOf } = listOf({ "docker.io/library/a:latest": Number.POSITIVE_INFINITY });
  prefetch.want(["a", "b"]);
  await waitFor("the fetch", () => stateOf("docker.io/library/a:latest")?.state === "fetching");
  expect(stateOf("docker.io/library/a:latest")).toMatchObject({ done: 1, total: 2 });
  prefetch.want(["a"]);
  expect(prefetch.state).toHaveLength(1);
  await prefetch.close();
});

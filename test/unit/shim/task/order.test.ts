import { describe, expect, test } from "bun:test";
import { Order } from "../../../../shim/task/order.ts";
import { type Action, BrokenPromise, World } from "./world.ts";

/** A generator of pseudo-random numbers (mulberry32): the same seed, the same history. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function runHistory(seed: number): void {
  const next = random(seed);
  const pick = (count: number) => Math.floor(next() * count);
  const world = new World(next() < 0.5, ["a", "b", "c", "d"].slice(0, pick(5)), true);
  const history: Action[] = [];
  const length = pick(40);
  try {
    while (history.length < length) {
      // Init dies late in most histories, so that something can happen before.
      const all = world.actions();
      const likely = all.filter(({ name, key }) => key !== "" || name === "created" || name === "started");
      const from = likely.length > 0 && next() < 0.8 ? likely : all;
      const action = from[pick(from.length)];
      if (action === undefined) break;
      history.push(action);
      world.do(action);
    }
    history.push(...world.end(pick));
  } catch (error) {
    if (!(error instanceof BrokenPromise)) throw error;
    const steps = history.map(({ name, key }) => `${name} ${key || "init"}`).join(", ");
    throw new Error(`${error.message}; seed ${seed}, pids ${world.shared ? "shared" : "own"}: ${steps}`);
  }
}

const histories = Number(process.env["BERTH_HISTORIES"] ?? 20_000);
test(`${histories} random legal histories keep every promise (BERTH_HISTORIES sets the number)`, () => {
  for (let seed = 1; seed <= histories; seed++) runHistory(seed);
}, 120_000);

/** Follows every interleaving to its end. @returns how many there are */
function explore(shared: boolean, keys: readonly string[], mayHappen: (action: Action) => boolean): number {
  let count = 0;
  const visit = (path: Action[]) => {
    const world = new World(shared, keys, false);
    for (const action of path) world.do(action);
    const next = world.actions().filter(mayHappen);
    for (const action of next) visit([...path, action]);
    if (next.length > 0) return;
    count++;
    try {
      world.end(() => 0);
    } catch (error) {
      const steps = path.map(({ name, key }) => `${name} ${key || "init"}`).join(", ");
      throw new Error(`${(error as Error).message}: ${steps}`);
    }
  };
  visit([]);
  return count;
}

describe.each([true, false])("every interleaving, pids shared: %p", (shared) => {
  test("of init and an exec, with failing starts and deletions", () => {
    expect(explore(shared, ["a"], () => true)).toBeGreaterThan(500);
  });

  test("of init and two execs that start and exit", () => {
    const happens = ({ name }: Action) => name !== "start failed" && name !== "delete";
    expect(explore(shared, ["a", "b"], happens)).toBeGreaterThan(10_000);
  }, 60_000);

  test("of a started init and two execs, one of which does not come up", () => {
    const happens = ({ name, key }: Action) =>
      name !== "delete" &&
      (key === "" ? name === "created" || name === "exit" : (name === "start failed") <= (key === "b"));
    expect(explore(shared, ["a", "b"], happens)).toBeGreaterThan(1_000);
  }, 60_000);
});

describe("one rule at a time", () => {
  const own = () => new Order<number>(false);

  test("T-STA-7 an exit that is seen before the start was answered is told right after the start", () => {
    const order = own();
    order.created();
    order.starting("");
    expect(order.exited("", 1)).toEqual([]);
    expect(order.started("")).toEqual([
      { tell: "start", key: "" },
      { tell: "exit", key: "", exit: 1 },
    ]);
  });

  test("an init that dies during create is told after create", () => {
    const order = own();
    expect(order.exited("", 9)).toEqual([]);
    expect(order.created()).toEqual([{ tell: "create" }, { tell: "exit", key: "", exit: 9 }]);
  });

  test("T-STA-6 an exec that did not start holds nothing, and its early exit is never told", () => {
    const order = own();
    order.created();
    order.execAdded("a");
    order.starting("a");
    order.exited("a", 1);
    expect(order.exited("", 2)).toEqual([]);
    expect(order.startFailed("a")).toEqual([{ tell: "exit", key: "", exit: 2 }]);
  });

  test("T-STA-4 initGone is true as soon as the exit was seen, told or not", () => {
    const order = own();
    order.created();
    order.execAdded("a");
    order.starting("a");
    order.started("a");
    expect(order.initGone).toBe(false);
    expect(order.exited("", 1)).toEqual([]);
    expect(order.initGone).toBe(true);
    expect(order.exited("a", 2)).toEqual([
      { tell: "exit", key: "a", exit: 2 },
      { tell: "exit", key: "", exit: 1 },
    ]);
  });

  test("PR-3 the kill waits for an exec that is being started, which it would miss", () => {
    const order = new Order<number>(true);
    order.created();
    for (const key of ["a", "b"]) {
      order.execAdded(key);
      order.starting(key);
    }
    order.started("a");
    expect(order.exited("", 1)).toEqual([]);
    expect(order.started("b")).toEqual([{ tell: "start", key: "b" }, { tell: "kill-all" }]);
    expect(order.exited("a", 2)).toEqual([{ tell: "exit", key: "a", exit: 2 }]);
    expect(order.exited("b", 3)).toEqual([
      { tell: "exit", key: "b", exit: 3 },
      { tell: "exit", key: "", exit: 1 },
    ]);
  });

  test("a start of init that failed leaves it created, and a later exit is told", () => {
    const order = own();
    order.created();
    order.starting("");
    expect(order.startFailed("")).toEqual([]);
    expect(order.exited("", 137)).toEqual([{ tell: "exit", key: "", exit: 137 }]);
    order.starting("");
    expect(order.startFailed("")).toEqual([]);
    expect(order.exited("", 0)).toEqual([]);
  });

  test("the first exit of a process counts, also while it is held", () => {
    const order = own();
    order.created();
    order.starting("");
    order.exited("", 1);
    expect(order.exited("", 2)).toEqual([]);
    expect(order.started("")).toEqual([
      { tell: "start", key: "" },
      { tell: "exit", key: "", exit: 1 },
    ]);
  });

  test("an exit of a process that nobody added, or that was deleted, is of no one", () => {
    const order = own();
    order.created();
    expect(order.exited("ghost", 1)).toEqual([]);
    order.execAdded("ghost");
    order.starting("ghost");
    expect(order.started("ghost")).toEqual([{ tell: "start", key: "ghost" }]);
  });

  test("a delete that no longer waits for a lost exec tells init's exit first, and nothing after", () => {
    const order = own();
    order.created();
    order.execAdded("a");
    order.starting("a");
    order.started("a");
    order.exited("", 137);
    expect(order.deleted()).toEqual([{ tell: "exit", key: "", exit: 137 }, { tell: "delete" }]);
    expect(order.exited("a", 0)).toEqual([]);
  });
});

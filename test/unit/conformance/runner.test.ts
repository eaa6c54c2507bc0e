import { describe, expect, test } from "bun:test";
import { Skip, Violation } from "../../conformance/check.ts";
import { exitStatus, type Result } from "../../conformance/result.ts";
import { ClosedError } from "../../conformance/rig/connection.ts";
import { StatusError } from "../../conformance/rig/wire.ts";
import { type Listed, type Place, type RunOptions, runChecks } from "../../conformance/runner.ts";

/** A place that notes what becomes of it. */
class FakePlace implements Place<FakePlace> {
  readonly context = this;
  readonly id: string;
  closed = 0;

  constructor(id: string) {
    this.id = id;
  }

  evidence() {
    return { exchanges: [`${this.id} was called`], log: ["its log"] };
  }

  close(): void {
    this.closed++;
  }
}

type Body = (place: FakePlace) => Promise<void>;
const check = (id: string, body: Body, more: Partial<Listed<FakePlace>> = {}): Listed<FakePlace> => {
  return { id, section: "s", level: "must", title: "t", source: "f", body, ...more };
};

async function run(
  checks: Listed<FakePlace>[],
  options: Partial<RunOptions<FakePlace>> = {},
): Promise<{ results: Result[]; places: FakePlace[] }> {
  const places: FakePlace[] = [];
  const open = ({ id }: Listed<FakePlace>): FakePlace => {
    const place = new FakePlace(id);
    places.push(place);
    return place;
  };
  return { results: await runChecks(checks, { jobs: 2, timeout: 1000, open, ...options }), places };
}

const fails = async (): Promise<void> => {
  throw new Violation("a", "b");
};
const passes = async (): Promise<void> => undefined;

describe("runChecks", () => {
  test("judges by what the body throws", async () => {
    const throws = (error: Error): Body => {
      return async () => {
        throw error;
      };
    };
    const { results } = await run([
      check("pass", passes),
      check("fail", fails),
      check("status", throws(new StatusError(5, "gone"))),
      check("closed", throws(new ClosedError("hung up"))),
      check("skip", throws(new Skip("no memory"))),
      check("error", throws(new TypeError("a mistake of the kit"))),
    ]);
    expect(results.map(({ id, outcome }) => `${id} ${outcome}`)).toEqual([
      "pass pass",
      "fail fail",
      "status fail",
      "closed fail",
      "skip skip",
      "error error",
    ]);
    expect(results[1]?.failure).toEqual({
      expected: "a",
      received: "b",
      exchanges: ["fail was called"],
      log: ["its log"],
    });
    expect(results[4]?.reason).toBe("no memory");
    expect(results[5]?.reason).toContain("a mistake of the kit");
  });

  test("closes each place once, whatever became of the check", async () => {
    const { places } = await run([check("pass", passes), check("fail", fails), check("late", () => Bun.sleep(5000))], {
      timeout: 20,
    });
    expect(places.map(({ closed }) => closed)).toEqual([1, 1, 1]);
  });

  test("ends a check at its limit, and goes on", async () => {
    const late = check("late", () => Bun.sleep(5000));
    const { results } = await run([late, check("next", passes)], { timeout: 20, jobs: 1 });
    expect(results[0]?.failure?.expected).toBe("the check to end within 20 ms");
    expect(results[1]?.outcome).toBe("pass");
  });

  test("a check may have a longer limit", async () => {
    const { results } = await run([check("slow", () => Bun.sleep(60), { limit: 1000 })], { timeout: 20 });
    expect(results[0]?.outcome).toBe("pass");
  });

  test("what a check throws after its limit is nobody's concern", async () => {
    const body = async (): Promise<void> => {
      await Bun.sleep(40);
      throw new Error("late");
    };
    const { results } = await run([check("late", body)], { timeout: 10 });
    await Bun.sleep(60);
    expect(results[0]?.outcome).toBe("fail");
  });

  test("runs so many at a time, and those that must be alone after them", async () => {
    let running = 0;
    const seen: string[] = [];
    const body = (name: string): Body => {
      return async () => {
        running++;
        await Bun.sleep(10);
        seen.push(`${name}:${running}`);
        running--;
      };
    };
    const checks = [check("z", body("z"), { alone: true }), ...["a", "b", "c", "d"].map((id) => check(id, body(id)))];
    const { results } = await run(checks, { jobs: 2 });
    expect(results.map(({ id }) => id)).toEqual(["z", "a", "b", "c", "d"]);
    expect(seen.at(-1)).toBe("z:1");
    expect(Math.max(...seen.map((line) => Number(line.split(":")[1])))).toBe(2);
  });

  test("a place that cannot be made or cleaned up is the kit's error", async () => {
    const { results } = await run([check("a", passes)], {
      open: () => {
        throw new Error("no space");
      },
    });
    expect(results[0]).toMatchObject({ outcome: "error", reason: expect.stringContaining("no space") });
    const broken = new FakePlace("b");
    broken.close = () => {
      throw new Error("busy");
    };
    expect((await run([check("b", passes)], { open: () => broken })).results[0]?.outcome).toBe("error");
  });

  test("begins no check once it was told to stop", async () => {
    const abort = new AbortController();
    const first = check("a", async () => abort.abort());
    const { results } = await run([first, check("b", passes)], { jobs: 1, signal: abort.signal });
    expect(results.map(({ id }) => id)).toEqual(["a"]);
  });
});

describe("exitStatus", () => {
  const of = (outcome: Result["outcome"], level: Result["level"] = "must"): Result => {
    return { id: "a", section: "s", level, title: "t", source: "f", outcome, ms: 1 };
  };
  const cases: readonly (readonly [Result[], number])[] = [
    [[], 0],
    [[of("pass"), of("skip"), of("expected"), of("fail", "should")], 0],
    [[of("pass"), of("fail")], 1],
    [[of("passed-unexpectedly", "should")], 1],
    [[of("fail"), of("error")], 2],
  ];
  test.each(cases)("%#", (results, status) => {
    expect(exitStatus(results)).toBe(status as 0 | 1 | 2);
  });
});

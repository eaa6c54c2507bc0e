import { describe, expect, test } from "bun:test";
import { names, select } from "../../conformance/check.ts";
import { allChecks } from "../../conformance/main.ts";

const checks = [
  { id: "T-STA-2.start-running", level: "must" },
  { id: "T-STA-2.start-paused", level: "must" },
  { id: "T-STA-20", level: "must" },
  { id: "EV-3", level: "should" },
] as const;
const all = { only: [], skip: [], level: "should" } as const;
const ids = (selection: Partial<Parameters<typeof select>[1]>): string[] =>
  select(checks, { ...all, ...selection }).map(({ id }) => id);

describe("names", () => {
  test("an id, a glob, or an id of the contract for all its checks", () => {
    expect(names("EV-3", "EV-3")).toBe(true);
    expect(names("T-*", "T-STA-20")).toBe(true);
    expect(names("T-STA-2", "T-STA-2.start-running")).toBe(true);
    expect(names("T-STA-2", "T-STA-20")).toBe(false);
  });
});

describe("select", () => {
  test("takes all in their order, and what is named", () => {
    expect(ids({})).toEqual(checks.map(({ id }) => id));
    expect(ids({ only: ["EV-*", "T-STA-2"] })).toEqual(["T-STA-2.start-running", "T-STA-2.start-paused", "EV-3"]);
  });

  test("leaves out what is skipped, and what a MUST is not", () => {
    expect(ids({ skip: ["T-STA-2"] })).toEqual(["T-STA-20", "EV-3"]);
    expect(ids({ level: "must", skip: ["T-STA-2"] })).toEqual(["T-STA-20"]);
  });

  test("tells of a name that there is none of", () => {
    expect(() => ids({ only: ["T-STO-2"] })).toThrow("no check has the id T-STO-2");
    expect(() => ids({ skip: ["X*"] })).toThrow("no check has the id X*");
  });
});

describe("the checks", () => {
  test("have ids of their own, and no id that is the beginning of another's", () => {
    const seen = allChecks.map(({ id }) => id);
    expect(seen.filter((id, index) => seen.indexOf(id) !== index)).toEqual([]);
    expect(seen.filter((id) => seen.some((other) => other.startsWith(`${id}.`)))).toEqual([]);
  });

  test("each say their rule in a sentence, and where it comes from", () => {
    for (const { id, title, source } of allChecks) {
      expect(id).toMatch(/^[A-Z]+(-[A-Z]+)?-\d+[a-z]?(\.[a-z0-9.-]+)?$/);
      expect(`${id}: ${title}`).toMatch(/: [A-Z0-9-/a-z].*\.$/);
      expect(`${id}: ${source}`).toMatch(/: \S/);
    }
  });
});

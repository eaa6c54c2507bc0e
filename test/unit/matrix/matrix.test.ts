import { describe, expect, test } from "bun:test";
import { groupNames, groupOf, groupOfFile, namePattern } from "../../matrix/groups.ts";
import { outside, readCases } from "../../matrix/report.ts";
import { cell, table } from "../../matrix/table.ts";

describe("groups", () => {
  const container = "test/integration/container.test.ts";
  for (const [path, name, group] of [
    [container, "T-PAU-1 T-STT-2 pause stops the container", "task"],
    [container, "T-STS-1 metrics have containerd's type", "cgroup"],
    [container, "SK-3 DL-4 a group shares one shim", "grouping"],
    [container, "PR-4 SIGKILL ends a container with 137", "task"],
    ["test/integration/stdio.test.ts", "IO-7 ctr run -t gives a terminal", "console"],
    ["test/integration/stdio.test.ts", "a name without an id", "stdio"],
    ["test/integration/events.test.ts", "R19 T-CRE-6 out of memory", "oom"],
    ["test/integration/restart.test.ts", "RS-5 DL-8 SIGKILL to the shim", "restart"],
    ["test/integration/delete.test.ts", "DL-5 works on a bundle that is empty", "delete"],
    ["test/integration/start.test.ts", "an answer on stdout and nothing on stderr", "start"],
    ["test/fault/runc.test.ts", "runc hangs", "fault"],
    ["test/integration/cgroup.test.ts", "a name without an id", "cgroup"],
    ["test/integration/grouping.test.ts", "a name without an id", "grouping"],
    ["test/integration/strange.test.ts", "whatever", "other"],
  ] as const) {
    test(`${name} is ${group}`, () => expect(groupOf(path, name)).toBe(group));
  }

  test("a test that a group has by its name matches the group's pattern", () => {
    expect(namePattern(["events", "oom"])?.test("R19 T-CRE-6 out of memory")).toBe(true);
    expect(namePattern(["events", "oom"])?.test("EV-1 run")).toBe(true);
    expect(namePattern(["events", "oom"])?.test("T-PAU-1 pause")).toBe(false);
    expect(namePattern(["fault"])).toBeUndefined();
  });

  test("every file has a group that is a column", () => {
    expect(groupNames).toContain(groupOfFile("test/integration/no-rule-knows-me.test.ts"));
  });
});

describe("report", () => {
  const junit = (failures: number, cases: string) =>
    `<testsuites name="bun test" tests="9" assertions="1" failures="${failures}" skipped="1" time="1">${cases}</testsuites>`;

  test("passed, failed with its message, skipped with its reason; filtered out is nothing", () => {
    const cases = readCases({
      exitCode: 1,
      output: "SKIP needs: a moon: no moon tonight\n(skip) needs: a moon\n(fail) bad\n",
      junit: junit(
        1,
        `<testcase name="ok &amp; &lt;x&gt;" classname="outer" time="0.5" file="a" />
         <testcase name="bad" classname="" time="0"><failure type="Error" message="left:&#10;  &quot;x&quot;">more</failure></testcase>
         <testcase name="needs: a moon" classname="" time="0"><skipped /></testcase>
         <testcase name="filtered" classname="" time="0"><skipped /></testcase>`,
      ),
    });
    expect(cases).toEqual([
      { name: "outer > ok & <x>", outcome: "passed", message: "", seconds: 0.5 },
      { name: "bad", outcome: "failed", message: 'left:\n  "x"', seconds: 0 },
      { name: "needs: a moon", outcome: "skipped", message: "no moon tonight", seconds: 0 },
    ]);
  });

  test("no report is a failure that quotes the end of the output", () => {
    const [only] = readCases({ exitCode: 137, output: "one\nKilled\n", junit: undefined });
    expect(only).toMatchObject({ name: outside, outcome: "failed", message: expect.stringContaining("Killed") });
  });

  test("an exit code without a failed test is a failure", () => {
    const ended = { exitCode: 1, output: "\nerror: afterAll broke\n", junit: junit(0, "") };
    expect(readCases(ended)).toMatchObject([{ name: outside, message: "exit code 1: error: afterAll broke" }]);
  });

  test("a hook's failure, which has no test of its own, is not lost behind a test's", () => {
    const bad = '<testcase name="bad" time="0"><failure type="Error" message="x" /></testcase>';
    const cases = readCases({ exitCode: 1, output: "\nerror: left behind\n", junit: junit(2, bad) });
    expect(cases.map((one) => one.name)).toEqual(["bad", outside]);
  });

  test("a filter that matches nothing is no failure", () => {
    const output = 'error: regex "zzz" matched 0 tests. Searched 1 file\n';
    expect(readCases({ exitCode: 1, output, junit: junit(0, "") })).toEqual([]);
  });
});

describe("table", () => {
  test("columns that no row has are left out; a row that did not run says so", () => {
    const lines = [
      { name: "here", seconds: 12.4, tallies: new Map([["task", { passed: 3, failed: 1, skipped: 0 }]]) },
      { name: "elsewhere", seconds: 0, tallies: new Map(), absent: "no such machine" },
    ];
    expect(table(lines, ["oom", "task"])).toEqual([
      "passed/failed/skipped   task      all  time",
      "here                   3/1/0    3/1/0  12 s",
      "elsewhere                     not run",
    ]);
  });

  test("a cell with nothing in it is a dash", () => {
    expect(cell(undefined)).toBe("-");
    expect(cell({ passed: 0, failed: 0, skipped: 0 })).toBe("-");
    expect(cell({ passed: 0, failed: 0, skipped: 2 })).toBe("0/0/2");
  });
});

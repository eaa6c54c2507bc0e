import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { names } from "../../conformance/check.ts";
import { judgeExpected, parseExpected, readExpected } from "../../conformance/expected.ts";
import { allChecks } from "../../conformance/main.ts";
import type { Outcome, Result } from "../../conformance/result.ts";

const result = (outcome: Outcome): Result => {
  return { id: "A-1.x", section: "s", level: "must", title: "t", source: "f", outcome, ms: 1 };
};
const listed = [{ id: "A-*", reason: "it is so", source: "there" }];

describe("judgeExpected", () => {
  test("a listed failure is none", () => {
    expect(judgeExpected(result("fail"), listed)).toMatchObject({ outcome: "expected", reason: "it is so (there)" });
  });

  test("a listed check that passes is a failure, unless it is so only sometimes", () => {
    expect(judgeExpected(result("pass"), listed).outcome).toBe("passed-unexpectedly");
    expect(judgeExpected(result("pass"), [{ ...listed[0], sometimes: true } as never]).outcome).toBe("pass");
  });

  test("what is not listed, skipped or not run stays as it is", () => {
    expect(judgeExpected(result("fail"), [{ id: "B-1", reason: "r", source: "s" }]).outcome).toBe("fail");
    expect(judgeExpected(result("skip"), listed).outcome).toBe("skip");
    expect(judgeExpected(result("error"), listed).outcome).toBe("error");
  });
});

describe("parseExpected", () => {
  test("wants an id, a reason and a source of each", () => {
    expect(parseExpected({ deviations: listed }, "f")).toEqual(listed);
    expect(() => parseExpected([], "f")).toThrow('--expected f: there is no list "deviations"');
    expect(() => parseExpected({ deviations: [listed[0], { id: "A" }] }, "f")).toThrow("deviation 2 needs");
    expect(() => parseExpected({ deviations: [null] }, "f")).toThrow("deviation 1 needs");
  });

  test("tells of a file that is not there", () => {
    expect(() => readExpected("/no/such/file")).toThrow("--expected /no/such/file: ENOENT");
  });
});

const folder = join(import.meta.dir, "../../conformance/expected");
describe.each(readdirSync(folder))("%s", (name) => {
  test("names checks that there are", () => {
    const deviations = readExpected(join(folder, name));
    const unknown = deviations.filter(({ id }) => !allChecks.some((check) => names(id, check.id)));
    expect(unknown).toEqual([]);
  });
});

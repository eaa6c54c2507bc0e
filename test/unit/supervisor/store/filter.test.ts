import { expect, test } from "bun:test";
import { fieldsOf, parseFilters } from "../../../../supervisor/store/filter.ts";
import { unquote } from "../../../../supervisor/store/scanner.ts";
import answers from "../../../fixtures/filters.json";

const lookup = ([first, ...rest]: readonly string[]): string | undefined => {
  if (first === "runtime") return rest[0] === "name" ? "io.containerd.runc.v2" : undefined;
  return fieldsOf(
    { id: "c1", image: "docker.io/library/busybox:latest" },
    { a: "1", "x.y/z": "2" },
  )([first ?? "", ...rest]);
};

// What containerd 2.1 answered to each: whether it lets a container through, or what is wrong with the filter.
for (const [filter, expected] of Object.entries(answers)) {
  test(`the filter ${JSON.stringify(filter)}`, () => {
    let answer: string | boolean;
    try {
      answer = parseFilters([filter])(lookup);
    } catch (error) {
      answer = (error as Error).message;
    }
    expect(answer).toBe(expected);
  });
}

test("of several filters one must hold", () => {
  expect(parseFilters(["id==x", "labels.a"])(lookup)).toBe(true);
  expect(parseFilters(["id==x", "labels.b"])(lookup)).toBe(false);
  expect(parseFilters(["id==x", ""])(lookup)).toBe(true);
  expect(parseFilters([])(lookup)).toBe(true);
});

test("quoted text has Go's escapes", () => {
  expect(unquote('"a\\x41\\101\\u00e9\\U0001f600\\n\\\\\\""')).toBe('aAA\u00e9\u{1f600}\n\\"');
  expect(unquote('"\\xc3\\xa9"')).toBe("\u00e9");
  expect(unquote('"\\777"')).toBeUndefined();
  expect(unquote('"\\Uffffffff"')).toBeUndefined();
});

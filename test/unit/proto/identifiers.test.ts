import { describe, expect, test } from "bun:test";
import { checkIdentifier, isIdentifier } from "../../../proto/identifiers.ts";
import { Code } from "../../../proto/ttrpc/status.ts";

describe("what containerd takes", () => {
  test.each(["a", "default", "A9", "0", "a.b", "a-b_c.d", "Foo.BAR-1", "x".repeat(76)])("%j", (text) => {
    expect(isIdentifier(text)).toBe(true);
    checkIdentifier(text, "id");
  });
});

describe("what it does not", () => {
  test.each([
    "",
    ".",
    "..",
    "a/b",
    "/a",
    "../a",
    "a..b",
    "a--b",
    "a._b",
    "-a",
    "a-",
    "_a",
    "a.",
    " a",
    "a b",
    "a\n",
    "\na",
    "a\0",
    "ä",
    "a:b",
    "a%2fb",
    "x".repeat(77),
  ])("%j", (text) => {
    expect(isIdentifier(text)).toBe(false);
    const refusal = expect.objectContaining({
      code: Code.InvalidArgument,
      message: expect.stringContaining("exec id"),
    });
    expect(() => checkIdentifier(text, "exec id")).toThrow(refusal);
  });
});

test("a hostile text takes no time", () => {
  const begun = performance.now();
  for (const text of [`${"a".repeat(1_000_000)}!`, "a.".repeat(500_000), `${"a-".repeat(37)}!`]) {
    expect(isIdentifier(text)).toBe(false);
    expect(() => checkIdentifier(text, "id")).toThrow();
  }
  expect(performance.now() - begun).toBeLessThan(500);
});

test("a hostile text is told in a message that stays small", () => {
  try {
    checkIdentifier("x".repeat(1_000_000), "id");
    expect.unreachable();
  } catch (error) {
    expect((error as Error).message.length).toBeLessThan(200);
  }
});

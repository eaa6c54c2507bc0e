import { expect, test } from "bun:test";
import { shown, shownJson, shownLines } from "../../../../../supervisor/cli/output/escape.ts";

test("control characters are shown, and do nothing", () => {
  expect(shown("a\x1b[2Jb\x07\x9b1mc\x7f")).toBe("a\\x1b[2Jb\\x07\\x9b1mc\\x7f");
  expect(shown("two\nlines\tand\r")).toBe("two\\nlines\\tand\\r");
  expect(shown("\u202egnp.exe")).toBe("\\u202egnp.exe");
  expect(shown("Größe 漢字 👍")).toBe("Größe 漢字 👍");
  expect(shown("half \ud83d of a pair")).toBe("half \ufffd of a pair");
});

test("texts of several lines keep their lines", () => {
  expect(shownLines("a\n\tb\x1b[0m\r\n")).toBe("a\n\tb\\x1b[0m\\r\n");
});

test("JSON says the same value without control characters", () => {
  const value = { name: "\x1b[31m\x9b\u2028\x7f", size: 12n, list: ["a\nb"] };
  const text = shownJson(value);
  for (const character of ["\x1b", "\x9b", "\u2028", "\x7f", "\n"]) expect(text).not.toContain(character);
  expect(JSON.parse(text)).toEqual({ ...value, size: 12 });
  expect(JSON.parse(shownJson(value, 2))).toEqual({ ...value, size: 12 });
  expect(shownJson(undefined)).toBe("null");
});

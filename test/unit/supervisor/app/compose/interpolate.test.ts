/** Variables in texts, files of variables, and commands taken apart. */

import { describe, expect, test } from "bun:test";
import { parseDotenv } from "../../../../../supervisor/app/compose/dotenv.ts";
import { InterpolationError, interpolate } from "../../../../../supervisor/app/compose/interpolate.ts";
import { splitWords } from "../../../../../supervisor/app/compose/words.ts";

const environment: Readonly<Record<string, string>> = { A: "a", EMPTY: "", N: "8080" };
const lookup = (name: string): string | undefined => environment[name];
/** Biome takes `${` in quotes for a mistake. */
const D = "$";

describe("interpolate", () => {
  for (const [text, expected] of [
    ["plain", "plain"],
    ["$A", "a"],
    [`${D}{A}b`, "ab"],
    ["$A-$N", "a-8080"],
    [`${D}{X:-d}`, "d"],
    [`${D}{X-d}`, "d"],
    [`${D}{EMPTY:-d}`, "d"],
    [`${D}{EMPTY-d}`, ""],
    [`${D}{X:-${D}{Y:-${D}{A}}}`, "a"],
    [`${D}{X:-{"k":1\\}}`, '{"k":1\\}'],
    [`${D}{A:+b}`, "b"],
    [`${D}{EMPTY:+b}`, ""],
    [`${D}{EMPTY+b}`, "b"],
    [`${D}{A:?no}`, "a"],
    ["$$A", "$A"],
    [`${D}${D}{A}`, `${D}{A}`],
    ["100$$", "100$"],
    ["$X.", "."],
  ] as const) {
    test(text, () => expect(interpolate(text, lookup)).toBe(expected));
  }
  for (const [text, expected] of [
    [`${D}{X:?give X}`, "the variable X is required: give X"],
    [`${D}{X?}`, "the variable X is required"],
    [`${D}{EMPTY:?}`, "the variable EMPTY is required"],
    [`${D}{A`, "an opening brace without its end"],
    [`${D}{A!b}`, "is no variable"],
    [`${D}{1}`, "is no variable"],
    ["50$ a", "write $$ for a dollar"],
    ["$", "write $$ for a dollar"],
  ] as const) {
    test(`${text} is refused`, () => {
      expect(() => interpolate(text, lookup)).toThrow(expected);
      expect(() => interpolate(text, lookup)).toThrow(InterpolationError);
    });
  }
  test("variables that are missing are told", () => {
    const missing: string[] = [];
    interpolate(`$X ${D}{Y} ${D}{Z:-1} $A`, lookup, (name) => missing.push(name));
    expect(missing).toEqual(["X", "Y"]);
  });
  test("a text does not grow without end", () => {
    const long = "x".repeat(5000);
    expect(() => interpolate("$L".repeat(20), () => long)).toThrow("longer than");
    const deep = `${D}{X:-`.repeat(20) + "}".repeat(20);
    expect(() => interpolate(deep, () => undefined)).toThrow("deep");
  });
});

describe("parseDotenv", () => {
  const file = `# a comment
A=1
export B = two words  # with a comment
C='$A single'
D="$A\\tdouble \\"q\\" \\$A"
E="over
two lines"
F
G=
H=a#b
I: yaml
J=${D}{B:-none}-${D}{MISSING:-d}
`;
  test("every form", () => {
    const { values, problems } = parseDotenv(file, (name) => (name === "MISSING" ? undefined : environment[name]));
    expect(problems).toEqual([]);
    expect(Object.fromEntries(values)).toEqual({
      A: "1",
      B: "two words",
      C: "$A single",
      // The environment wins over the file.
      D: 'a\tdouble "q" $A',
      E: "over\ntwo lines",
      F: null,
      G: "",
      H: "a#b",
      I: "yaml",
      J: "two words-d",
    });
  });
  test("raw: quotes and dollars are themselves", () => {
    expect(Object.fromEntries(parseDotenv('A="$B" # c', lookup, true).values)).toEqual({ A: '"$B" # c' });
  });
  test("problems have the number of their line", () => {
    const { problems } = parseDotenv(`A=1\n=2\n1X=3\nB="open\nC=${D}{Z:?gone}`, lookup);
    expect(problems).toEqual([
      { line: 2, message: 'expected NAME=value, not "=2"' },
      { line: 3, message: 'expected NAME=value, not "1X=3"' },
      { line: 4, message: 'the value of B has no closing "' },
    ]);
    expect(parseDotenv(`\nC=${D}{Z:?gone}`, lookup).problems).toEqual([
      { line: 2, message: "the value of C: the variable Z is required: gone" },
    ]);
  });
});

describe("splitWords", () => {
  for (const [text, expected] of [
    ["", []],
    ["a b  c", ["a", "b", "c"]],
    ["sh -c 'echo $A && b'", ["sh", "-c", "echo $A && b"]],
    ['a "b c" d\\ e', ["a", "b c", "d e"]],
    ["a ''", ["a", ""]],
    [`"a\\"b" 'c\\d'`, ['a"b', "c\\d"]],
    ['"\\n"', ["\\n"]],
    ["a\nb\tc", ["a", "b", "c"]],
    ["a'b'\"c\"", ["abc"]],
  ] as const) {
    test(text, () => expect(splitWords(text)).toEqual([...expected]));
  }
  for (const text of ["'a", '"a', "a\\", '"a\\"']) {
    test(`${text} is not closed`, () => expect(splitWords(text)).toBeUndefined());
  }
});

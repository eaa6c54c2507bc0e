import { expect, test } from "bun:test";
import { compilePattern } from "../../../../supervisor/store/pattern.ts";
import { Random } from "../../../lib/random.ts";

for (const [pattern, yes, no] of [
  ["", ["", "a"], []],
  ["abc", ["abc", "xabcx"], ["ab", "acb"]],
  ["^abc$", ["abc"], ["abcd", "xabc", "abc\n"]],
  ["a|bc|", ["", "x"], []],
  ["^(a|bc)$", ["a", "bc"], ["b", "abc"]],
  ["^a*b+c?$", ["b", "aabbc"], ["a", "abcc"]],
  ["^a{2,3}$", ["aa", "aaa"], ["a", "aaaa"]],
  ["^a{2}$", ["aa"], ["a", "aaa"]],
  ["^a{2,}$", ["aa", "aaaaa"], ["a"]],
  ["a{,2}", ["a{,2}"], ["aa"]],
  ["^/tasks/", ["/tasks/exit"], ["/x/tasks/"]],
  ["^.$", ["a", "é", "😀"], ["", "\n", "ab"]],
  ["(?s)^.$", ["\n"], [""]],
  ["(?i)^Ab[c-e]É$", ["aBDé", "ABEÉ"], ["abf"]],
  ["(?i:a)b", ["Ab", "ab"], ["AB"]],
  ["(?m)^b$", ["a\nb\nc"], ["ab"]],
  ["^[^a-c]$", ["d"], ["a", "c"]],
  ["^[]a]$", ["]", "a"], ["b"]],
  ["^[a-]$", ["-", "a"], ["b"]],
  ["^[\\d\\-x]+$", ["1-x"], ["a"]],
  ["^[[:alpha:]_]+$", ["aZ_"], ["1"]],
  ["^[[:^digit:]]$", ["a"], ["1"]],
  ["^\\d\\D\\w\\W\\s\\S$", ["1a_- x"], ["aa_- x"]],
  ["\\bfoo\\b", ["a foo b", "foo"], ["foobar"]],
  ["\\Afoo\\z", ["foo"], ["foo "]],
  ["^\\Q.*\\E$", [".*"], ["ab"]],
  ["^\\.\\*\\/$", [".*/"], ["ab/"]],
  ["^\\x41\\x{1F600}\\t\\101$", ["A😀\tA"], ["a"]],
  ["^\\p{Greek}\\pL\\PL$", ["αa1"], ["aa1"]],
  ["^(?P<name>a)(?<other>b)(?:c)$", ["abc"], ["ab"]],
  ["^(a(b(c)*)+)?$", ["", "abbcc"], ["ac"]],
  ["^(|a)+$", ["", "aaa"], ["b"]],
  ["^(a*)*$", ["", "aaa"], ["b"]],
] as const) {
  test(`the pattern ${pattern}`, () => {
    const matches = compilePattern(pattern);
    for (const text of yes) expect([text, matches?.(text)]).toEqual([text, true]);
    for (const text of no) expect([text, matches?.(text)]).toEqual([text, false]);
  });
}

for (const pattern of [
  "(",
  ")",
  "a)",
  "[",
  "[a",
  "*",
  "+a",
  "a**",
  "a{3,2}",
  "a{1001}",
  "\\",
  "\\y",
  "(?=a)",
  "(?!a)",
  "(?<=a)",
  "\\1",
  "[b-a]",
  "[[:x:]]",
  "(?x)a",
  "((a{999}){999}){999}",
  "(".repeat(1000),
]) {
  test(`the pattern ${pattern.slice(0, 30)} is wrong`, () => expect(compilePattern(pattern)).toBeUndefined());
}

test("patterns that take others for ever take no time", () => {
  const started = performance.now();
  for (const pattern of [
    "^(a+)+$",
    "^(a|aa)+$",
    "^(.*)*x$",
    "(a*)*b",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "^(a?){30}a{30}$",
  ]) {
    compilePattern(pattern)?.(`${"a".repeat(3000)}!`);
  }
  expect(performance.now() - started).toBeLessThan(3000);
});

test("patterns of every kind find what JavaScript's find", () => {
  const random = new Random(7);
  const pick = <T>(items: readonly T[]): T => random.of([...items]);
  const make = (depth: number): string => {
    const kind = random.between(0, depth > 3 ? 3 : 8);
    if (kind === 0) return pick(["a", "b", "c", ".", "\\d", "\\w", "[ab]", "[^a]", "[a-c]"]);
    if (kind === 1) return pick(["^", "$", "\\b", "a", "b", "-"]);
    if (kind === 2) return pick(["ab", "1", "c"]);
    if (kind <= 4) return make(depth + 1) + make(depth + 1);
    if (kind === 5) return `(?:${make(depth + 1)}|${make(depth + 1)})`;
    return `(?:${make(depth + 1)})${pick(["*", "+", "?", "{2}", "{1,3}", "*?", "+?"])}`;
  };
  for (let n = 0; n < 3000; n++) {
    const pattern = make(0);
    const text = Array.from({ length: random.between(0, 8) }, () => pick(["a", "b", "c", "1", "-", "\n"])).join("");
    expect([pattern, text, compilePattern(pattern)?.(text)]).toEqual([
      pattern,
      text,
      new RegExp(pattern, "u").test(text),
    ]);
  }
});

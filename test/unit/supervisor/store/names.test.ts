import { expect, test } from "bun:test";
import { digestProblem } from "../../../../supervisor/store/digest.ts";
import { withEntry } from "../../../../supervisor/store/fieldpath.ts";
import { validateIdentifier } from "../../../../supervisor/store/identifier.ts";
import { checkLabels, decodeLabels, encodeLabels } from "../../../../supervisor/store/labels.ts";
import { quote } from "../../../../supervisor/store/quote.ts";

for (const name of ["a", "a-b_c.d", "0", "x".repeat(76), "A.b"]) {
  test(`${name} is an identifier`, () => validateIdentifier(name));
}
for (const name of [
  "",
  ".",
  "..",
  "a/b",
  "a..b",
  "-a",
  "a-",
  "x".repeat(77),
  "a\n",
  "a\0",
  "é",
  "a b",
  "../../etc",
  "a\u202e",
]) {
  test(`${JSON.stringify(name)} is no identifier`, () =>
    expect(() => validateIdentifier(name)).toThrow("invalid argument"));
}

// What fmt.Sprintf("%q") of Go gives.
for (const [text, quoted] of [
  ["plain", '"plain"'],
  ['"\\', '"\\"\\\\"'],
  ["\n\t\r\0\x07\x7f", '"\\n\\t\\r\\x00\\a\\x7f"'],
  ["é☃😀", '"é☃😀"'],
  ["\u00a0\u200b\ufeff\u2028", '"\\u00a0\\u200b\\ufeff\\u2028"'],
  ["\u{e0001}", '"\\U000e0001"'],
] as const) {
  test(`Go's quotes around ${JSON.stringify(text)}`, () => expect(quote(text)).toBe(quoted));
}

for (const [digest, problem] of [
  [`sha256:${"a".repeat(64)}`, undefined],
  [`sha512:${"0".repeat(128)}`, undefined],
  [`sha256:${"A".repeat(64)}`, "invalid checksum digest format"],
  [`sha256:${"a".repeat(63)}`, "invalid checksum digest length"],
  [`sha256:../../${"a".repeat(58)}`, "invalid checksum digest format"],
  [`__proto__:${"a".repeat(64)}`, "invalid checksum digest format"],
  [`constructor:${"a".repeat(64)}`, "unsupported digest algorithm"],
  ["sha256:", "invalid checksum digest format"],
  ["", "invalid checksum digest format"],
] as const) {
  test(`the digest ${digest}: ${problem ?? "right"}`, () => expect(digestProblem(digest)).toBe(problem as string));
}

test("labels may have any name, and those without a value are not kept", () => {
  const labels = JSON.parse('{"__proto__":"1","constructor":"2","a.b/c":"3","empty":""}') as Record<string, string>;
  expect(decodeLabels(encodeLabels(labels))).toEqual(JSON.parse('{"__proto__":"1","constructor":"2","a.b/c":"3"}'));
  expect(() => checkLabels({ a: "é".repeat(2048) })).toThrow("length (4097 bytes)");
  checkLabels({ a: "é".repeat(2047) });
});

test("an entry of a map takes its value from what is given, and never from what every object has", () => {
  expect(withEntry({ a: "1" }, "toString", {}, "")).toEqual({ a: "1", toString: "" } as never);
  expect(Object.keys(withEntry({ a: "1" }, "__proto__", JSON.parse('{"__proto__":"2"}'), ""))).toEqual([
    "a",
    "__proto__",
  ]);
});

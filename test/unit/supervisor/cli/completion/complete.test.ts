import { expect, test } from "bun:test";
import { complete, type NamesOf } from "../../../../../supervisor/cli/completion/complete.ts";
import { wordsOf } from "../../../../../supervisor/cli/completion/words.ts";
import { buildProgram } from "../../../../../supervisor/cli/program.ts";

const names: NamesOf = async (kind, { namespace }) =>
  kind === "container"
    ? [namespace === "other" ? "theirs" : "web", "db", "$(touch x)", "a b", "-rf"]
    : kind === "image"
      ? ["docker.io/library/alpine:latest"]
      : [kind];

/** The values that are offered for a line, and `:files`. */
async function offered(line: string): Promise<string[]> {
  const words = wordsOf(line).slice(1);
  const { candidates, files } = await complete(await buildProgram([], true), words, names);
  return [...candidates.map(({ value }) => value), ...(files ? [":files"] : [])];
}

test("verbs, and verbs of a noun", async () => {
  expect(await offered("berth pul")).toEqual(["pull"]);
  expect(await offered("berth -n other system d")).toContain("df");
  expect(await offered("berth ")).toContain("doctor");
});

test("flags, and their values", async () => {
  expect(await offered("berth images --no-t")).toEqual(["--no-trunc"]);
  expect(await offered("berth images --format ")).toEqual(["json", "table"]);
  expect(await offered("berth images --format=j")).toEqual(["--format=json"]);
  expect(await offered("berth load -i ")).toEqual([":files"]);
  expect(await offered("berth completion ")).toEqual(["bash", "zsh", "fish"]);
});

test("names of what the verb is about, in the namespace of the line; no name that a shell would read", async () => {
  expect(await offered("berth stats ")).toEqual(["db", "web"]);
  expect(await offered("berth -n other stats th")).toEqual(["theirs"]);
  expect(await offered("berth --namespace=other stats th")).toEqual(["theirs"]);
  expect(await offered("berth rmi -f d")).toEqual(["docker.io/library/alpine:latest"]);
  expect(await offered("berth rmi one d")).toEqual(["docker.io/library/alpine:latest"]);
  expect(await offered("berth cp w")).toEqual(["web:", ":files"]);
  expect(await offered("berth history one t")).toEqual([]);
});

test("a line is cut into words by quotes, and nothing of it is run", () => {
  expect(wordsOf('berth rmi \'a b\' "c\\"d" e\\ f $(touch x')).toEqual([
    "berth",
    "rmi",
    "a b",
    'c"d',
    "e f",
    "$(touch",
    "x",
  ]);
  expect(wordsOf("berth ")).toEqual(["berth", ""]);
  expect(wordsOf("berth '")).toEqual(["berth", ""]);
});

import { describe, expect, test } from "bun:test";
import { buildProgram, ownVerbs, verbOf, verbs } from "../../../../supervisor/cli/program.ts";
import { statusOfStart } from "../../../../supervisor/cli/status.ts";

describe("the verb of a command line", () => {
  test.each([
    [["ps", "-a"], "ps"],
    [["-n", "edge", "ps"], "ps"],
    [["--namespace=edge", "--address", "/run/x.sock", "run", "busybox"], "run"],
    [["--help"], undefined],
    [[], undefined],
  ] as [string[], string | undefined][])("%j", (args, verb) => {
    expect(verbOf(args)).toBe(verb);
  });
});

test("help lists every verb", async () => {
  const help = (await buildProgram([])).helpInformation();
  const names = [...Object.keys(verbs), ...Object.keys(ownVerbs)];
  for (const name of names) expect(help).toMatch(new RegExp(`^ {2}${name}\\b`, "m"));
});

test("every verb is registered under the name that the table has", async () => {
  for (const name of Object.keys(verbs)) {
    const program = await buildProgram([name]);
    expect(program.commands.flatMap((command) => [command.name(), ...command.aliases()])).toContain(name);
  }
});

describe("the exit status that the words of a failed start ask for", () => {
  test.each([
    ['exec: "nosuch": executable file not found in $PATH', 127],
    ['unable to start container process: exec: "/nosuch": stat /nosuch: no such file or directory', 127],
    ['unable to start container process: exec: "/etc": permission denied', 126],
    ["exec /script: exec format error", 126],
    ["snapshot c1: not found", undefined],
  ] as [string, number | undefined][])("%s", (words, status) => {
    expect(statusOfStart(words)).toBe(status);
  });
});

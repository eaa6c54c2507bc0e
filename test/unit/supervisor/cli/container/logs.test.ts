import { describe, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { entryOf, isWithin } from "../../../../../supervisor/cli/container/log-entry.ts";
import { linesOf } from "../../../../../supervisor/cli/container/log-files.ts";
import { processScope } from "../../../../lib/scope.ts";
import { waitFor } from "../../../../lib/wait.ts";

let made = 0;

/** A log of files, the oldest first. */
function log(...files: string[]): string {
  const directory = join(processScope().dir, `logs${++made}`);
  mkdirSync(directory);
  const path = join(directory, "c.log");
  for (const [index, text] of files.entries()) {
    const number = files.length - 1 - index;
    writeFileSync(number === 0 ? path : `${path}.${number}`, text);
  }
  return path;
}

async function read(path: string, tail?: number): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of linesOf(path, { tail, signal: new AbortController().signal })) lines.push(line);
  return lines;
}

describe("the files of a log", () => {
  test("are read oldest first", async () => {
    expect(await read(log("1\n2\n", "3\n", "4\n5"))).toEqual(["1", "2", "3", "4", "5"]);
  });

  test.each([
    [0, []],
    [1, ["5"]],
    [2, ["4", "5"]],
    [3, ["3", "4", "5"]],
    [4, ["2", "3", "4", "5"]],
    [9, ["1", "2", "3", "4", "5"]],
  ] as [number, string[]][])("the last %d lines", async (tail, lines) => {
    expect(await read(log("1\n2\n", "3\n", "4\n5\n"), tail)).toEqual(lines);
  });

  test("a tail of long lines and of an empty file", async () => {
    const long = "x".repeat(200_000);
    expect(await read(log(`${long}\n${long}y\n`, ""), 1)).toEqual([`${long}y`]);
    expect(await read(log(""))).toEqual([]);
    expect(await read(join(processScope().dir, "nosuch", "c.log"))).toEqual([]);
  });

  test("R28: what is written is followed over renames, and nothing is read twice", async () => {
    const path = log("old\n");
    const over = new AbortController();
    const signal = new AbortController().signal;
    const seen: string[] = [];
    const reading = (async () => {
      for await (const line of linesOf(path, { signal, over: over.signal })) seen.push(line);
    })();
    const expected = ["old"];
    for (let round = 0; round < 8; round++) {
      appendFileSync(path, `${round} a\n${round} `);
      appendFileSync(path, "b\n");
      expected.push(`${round} a`, `${round} b`);
      // Some renames come while nobody has read what was written before.
      if (round % 2 === 0) await waitFor("the lines", () => seen.length === expected.length);
      rmSync(`${path}.2`, { force: true });
      if (round > 0) renameSync(`${path}.1`, `${path}.2`);
      renameSync(path, `${path}.1`);
      writeFileSync(path, "");
    }
    appendFileSync(path, "last");
    over.abort();
    await reading;
    expect(seen).toEqual([...expected, "last"]);
  });

  test("a log that is not there yet is waited for", async () => {
    const path = log("x");
    rmSync(path);
    const over = new AbortController();
    const seen: string[] = [];
    const reading = (async () => {
      const { signal } = new AbortController();
      for await (const line of linesOf(path, { signal, over: over.signal })) seen.push(line);
    })();
    await Bun.sleep(20);
    writeFileSync(path, "first\n");
    await waitFor("the line", () => seen.length === 1);
    over.abort();
    await reading;
    expect(seen).toEqual(["first"]);
  });
});

describe("an entry", () => {
  const time = "2026-01-31T12:00:00.123456789Z";
  test.each([
    ["json", `{"log":"a\\n","stream":"stderr","time":"${time}"}`, { time, stream: "stderr", text: "a\n" }],
    ["json", `{"log":"part","stream":"stdout","time":"${time}"}`, { time, stream: "stdout", text: "part" }],
    ["json", "no json", { time: undefined, stream: "stdout", text: "no json\n" }],
    ["json", `{"log":1}`, { time: undefined, stream: "stdout", text: `{"log":1}\n` }],
    ["cri", `${time} stderr F a b`, { time, stream: "stderr", text: "a b\n" }],
    ["cri", `${time} stdout P a`, { time, stream: "stdout", text: "a" }],
    ["raw", `${time} stdout P a`, { time: undefined, stream: "stdout", text: `${time} stdout P a\n` }],
  ] as const)("%s: %s", (format, line, entry) => {
    expect(entryOf(line, format)).toEqual(entry);
  });

  test("is of a time or not; one that does not say is", () => {
    const entry = { time, stream: "stdout", text: "" } as const;
    const [before, after] = [new Date("2026-01-31T11:00:00Z"), new Date("2026-01-31T13:00:00Z")];
    expect([
      isWithin(entry, before, after),
      isWithin(entry, after, undefined),
      isWithin(entry, undefined, before),
    ]).toEqual([true, false, false]);
    expect(isWithin({ ...entry, time: undefined }, after, before)).toBe(true);
  });
});

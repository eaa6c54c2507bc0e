import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { close, O, open, readInto } from "../../../shim/linux/file.ts";
import { log } from "../../../shim/log.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-log-"));
const path = join(dir, "log");
expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
let reader = -1;
beforeEach(() => {
  reader = open(path, O.RDONLY | O.NONBLOCK);
  log.level = "debug";
  log.open(path, { id: "web", namespace: "default" });
  // What an earlier test has left untold.
  log.info("begin");
  drain();
});
afterEach(() => {
  log.close();
  close(reader);
});
afterAll(() => rmSync(dir, { recursive: true }));

/** Everything in the FIFO. */
function drain(): string {
  const into = new Uint8Array(65536);
  let text = "";
  for (let count = readInto(reader, into); count > 0; count = readInto(reader, into)) {
    text += new TextDecoder().decode(into.subarray(0, count));
  }
  return text;
}
const lines = () => drain().split("\n").slice(0, -1);
const withoutTime = (line: string | undefined) => line?.replace(/^time="[^"]*" /, "");

describe("a line is logrus's", () => {
  test("time, level, message, fields", () => {
    const begun = Date.now();
    log.info("shim ends", { pid: 42 });
    const [line = "", ...rest] = lines();
    expect(rest).toEqual([]);
    expect(line).toMatch(
      /^time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z" level=info msg="shim ends" id=web namespace=default pid=42$/,
    );
    const time = Date.parse(/time="([^"]*)"/.exec(line)?.[1] ?? "");
    expect(time).toBeGreaterThanOrEqual(begun);
    expect(time).toBeLessThanOrEqual(Date.now());
  });

  test("a warning is called so", () => {
    for (const level of ["debug", "info", "warn", "error"] as const) log[level]("x");
    expect(lines().map((line) => /level=(\w+)/.exec(line)?.[1])).toEqual(["debug", "info", "warning", "error"]);
  });

  test.each([
    ["bare-._/@^+9", "bare-._/@^+9"],
    ["", '""'],
    ["two words", '"two words"'],
    ["a=b", '"a=b"'],
    ['"', '"\\""'],
    ["a\nb", '"a\\nb"'],
    ["ü", '"ü"'],
    [7, "7"],
    [true, "true"],
    [undefined, "undefined"],
    [new Error("no\nspace"), '"no\\nspace"'],
  ])("the value of case %# is written as logrus would", (value, written) => {
    log.info("x", { key: value });
    expect(withoutTime(lines()[0])).toBe(`level=info msg="x" id=web namespace=default key=${written}`);
  });

  test("whatever a message holds, it stays one line that no one can forge", () => {
    log.error('first" level=info msg="forged\nlevel=info msg="second');
    expect(lines()).toHaveLength(1);
  });
});

test("lines below the level are not written", () => {
  log.level = "warn";
  for (const level of ["debug", "info", "warn", "error"] as const) log[level]("x");
  expect(lines()).toHaveLength(2);
});

test("without a log, or after its end, lines go nowhere", () => {
  log.close();
  log.error("x");
  log.open(join(dir, "missing"), {});
  log.error("x");
  expect(drain()).toBe("");
});

test("PR-6 a log that cannot be written to harms nobody", () => {
  log.close();
  log.open("/dev/full", {});
  log.error("x");
  log.error("y");
});

describe("PR-8 nobody reads", () => {
  /** Writes more than the pipe holds. */
  function flood(count: number): void {
    const begun = performance.now();
    for (let index = 0; index < count; index++) log.info(`line ${index} ${"x".repeat(200)}`);
    // It never waits.
    expect(performance.now() - begun).toBeLessThan(5_000);
  }

  test("lines are dropped, and their number is told when there is space again", () => {
    flood(1000);
    const kept = lines();
    expect(kept.length).toBeGreaterThan(100);
    expect(kept.length).toBeLessThan(1000);
    log.info("after");
    const [lost, after] = lines().map(withoutTime);
    expect(lost).toBe(
      `level=warning msg="${1000 - kept.length} log lines were dropped: nobody read the log" id=web namespace=default`,
    );
    expect(after).toContain('msg="after"');
    log.info("more");
    expect(lines()).toHaveLength(1);
  });

  test("a reader that comes back finds what was kept, in order", () => {
    close(reader);
    flood(1000);
    reader = open(path, O.RDONLY | O.NONBLOCK);
    const numbers = lines().map((line) => Number(/line (\d+)/.exec(line)?.[1]));
    expect(numbers).toEqual(numbers.map((_, index) => index));
  });

  test("a line that is larger than the pipe does not run into the next", () => {
    log.info("y".repeat(100_000));
    expect(drain()).toHaveLength(65536);
    log.info("next");
    const [end, lost, next, ...rest] = lines();
    expect(end).toBe("");
    expect(lost).toContain("1 log lines were dropped");
    expect(next).toContain('msg="next"');
    expect(rest).toEqual([]);
  });
});

/** Lines of shims in the daemon's log. */

import { afterAll, expect, test } from "bun:test";
import { closeSync, lstatSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseShimLine, readShimLog } from "../../../../supervisor/task/shimlog.ts";
import { waitFor } from "../../../lib/wait.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-shimlog-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("a line is taken apart", () => {
  const line = 'time="2026-01-02T03:04:05Z" level=warning msg="a \\"b\\" c" runtime=io.containerd.runc.v2 pid=1';
  expect(parseShimLine(line)).toEqual({
    level: "warn",
    message: 'a "b" c',
    fields: { runtime: "io.containerd.runc.v2", pid: "1" },
  });
  expect(parseShimLine("panic: runtime error")).toEqual({ level: "info", message: "panic: runtime error", fields: {} });
});

test("lines come whole, one by one, and a writer that goes away does not end it (PR-8)", async () => {
  const path = join(dir, "log");
  const lines: string[] = [];
  const stop = readShimLog(path, (text) => lines.push(text));
  expect(lstatSync(path).isFIFO()).toBe(true);
  expect((lstatSync(path).mode & 0o777).toString(8)).toBe("700");
  for (const pieces of [["one\ntw", "o\n"], ["three\n"]]) {
    const fd = openSync(path, "w");
    for (const piece of pieces) writeSync(fd, piece);
    closeSync(fd);
  }
  await waitFor("three lines", () => lines.length === 3);
  expect(lines).toEqual(["one", "two", "three"]);
  stop();
  stop();
});

test("a line without end is cut", async () => {
  const path = join(dir, "long");
  const lines: string[] = [];
  const stop = readShimLog(path, (text) => lines.push(text));
  const fd = openSync(path, "w");
  writeSync(fd, "x".repeat(40_000));
  writeSync(fd, "\nend\n");
  await waitFor("the end", () => lines.includes("end"));
  expect(lines.every((line) => line.length <= 16 << 10)).toBe(true);
  stop();
  closeSync(fd);
});

import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram } from "../../../../shim/linux/program.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-program-"));
const [first, second] = [join(dir, "first"), join(dir, "second")];
const path = process.env["PATH"];
for (const part of [first, second]) mkdirSync(part);
writeFileSync(join(second, "tool"), "#!/bin/sh\n", { mode: 0o755 });
process.env["PATH"] = `${first}:${join(dir, "none")}:${second}`;

afterAll(() => {
  process.env["PATH"] = path;
  rmSync(dir, { recursive: true });
});

test("INV-6 a program is found in the PATH, also through a link", () => {
  symlinkSync("tool", join(second, "link"));
  expect(findProgram("tool")).toBe(join(second, "tool"));
  expect(findProgram("link")).toBe(join(second, "link"));
  expect(findProgram("no-such-tool")).toBeUndefined();
});

test("INV-6 a directory of that name, or a file that may not be executed, does not hide the program", () => {
  mkdirSync(join(first, "tool"));
  expect(findProgram("tool")).toBe(join(second, "tool"));
  rmSync(join(first, "tool"), { recursive: true });
  writeFileSync(join(first, "tool"), "");
  chmodSync(join(first, "tool"), 0o644);
  expect(findProgram("tool")).toBe(join(second, "tool"));
});

test("INV-6 a path is taken as it is, if there is a program", () => {
  expect(findProgram(join(second, "tool"))).toBe(join(second, "tool"));
  expect(findProgram(join(second, "other"))).toBeUndefined();
  expect(findProgram(second)).toBeUndefined();
});

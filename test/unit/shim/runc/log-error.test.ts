import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code } from "../../../../proto/ttrpc/status.ts";
import { lastLogError, RuncError, runtimeError } from "../../../../shim/runc/error.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-runc-log-"));
const path = join(dir, "log.json");
afterAll(() => rmSync(dir, { recursive: true }));
const line = (level: string, msg: unknown) => JSON.stringify({ level, msg, time: "2026-11-20T07:54:09Z" });

/** As runc 1.1.5 and crun 1.8.1 wrote them. */
const recorded = {
  "runc, no such program":
    '{"level":"error","msg":"runc create failed: unable to start container process: exec: \\"/nosuch\\": stat /nosuch: no such file or directory","time":"2026-11-20T07:54:09Z"}\n',
  "runc, not executable":
    '{"level":"error","msg":"runc create failed: unable to start container process: exec: \\"/etc\\": permission denied","time":"2026-11-20T07:54:10Z"}\n',
  "runc, broken config.json":
    '{"level":"error","msg":"runc create failed: unexpected EOF","time":"2026-11-20T07:54:10Z"}\n',
  "crun, hybrid cgroups":
    '{"msg":"cgroups in hybrid mode not supported, drop all controllers from cgroupv2","level":"error","time":"2026-11-20T07:54:11.086483Z"}\n',
  "crun, broken config.json":
    '{"msg":"error loading config.json","level":"error","time":"2026-11-20T07:54:12.016944Z"}\n',
};

describe("T-CRE-4 the last error in a recorded log", () => {
  for (const [name, text] of Object.entries(recorded)) {
    test(name, () => {
      writeFileSync(path, text);
      expect(lastLogError(path)).toBe((JSON.parse(text) as { msg: string }).msg);
    });
  }
});

describe("T-CRE-4 the last error", () => {
  test.each([
    ["of several", [line("error", "first"), line("error", "second")], "second"],
    ["not a warning after it", [line("error", "real"), line("warning", "later"), line("info", "x")], "real"],
    ["a fatal one counts", [line("fatal", "end")], "end"],
    ["of a runc that was killed while it wrote", [line("error", "whole"), '{"level":"error","msg":"ha'], "whole"],
    ["between rubbish", ["not json", "null", "7", "[]", line("error", "found"), "{}", '"x"'], "found"],
    ["without a message is none", ['{"level":"error"}', line("error", 7)], undefined],
    ["white space around it is none of it", [line("error", "  padded\n")], "padded"],
    ["of nothing", [], undefined],
  ])("%s", (_, lines, expected) => {
    writeFileSync(path, lines.join("\n"));
    expect(lastLogError(path)).toBe(expected);
  });

  test("of a missing, unreadable or endless log is none", () => {
    expect(lastLogError(join(dir, "missing"))).toBeUndefined();
    expect(lastLogError(dir)).toBeUndefined();
    expect(lastLogError("/dev/zero")).toBeUndefined();
  });
});

describe("what a client is told", () => {
  const prefix = "OCI runtime create failed";
  test.each([
    [
      new RuncError("runc create", "exec: x: permission denied", "failed"),
      Code.Unknown,
      `${prefix}: exec: x: permission denied`,
    ],
    [
      new RuncError("runc create", "executable file not found", "start"),
      Code.Unknown,
      `${prefix}: runc create: executable file not found`,
    ],
    [
      new RuncError("runc create", "", "timeout"),
      Code.DeadlineExceeded,
      `${prefix}: runc create: did not end in time and was killed`,
    ],
    [new RuncError("runc create", "", "canceled"), Code.Unknown, `${prefix}: runc create: was canceled`],
    [new Error("no pid in /b/init.pid"), Code.Unknown, `${prefix}: no pid in /b/init.pid`],
    ["thrown text", Code.Unknown, `${prefix}: thrown text`],
  ])("case %#", (error, code, message) => {
    expect(runtimeError(error, prefix)).toMatchObject({ code, message });
  });
});

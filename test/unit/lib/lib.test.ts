import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CommandError, run } from "../../lib/command.ts";
import { parseEvent } from "../../lib/events.ts";
import { tar } from "../../lib/image.ts";
import { expectNoLeak, inventory } from "../../lib/leak.ts";
import { outcome } from "../../lib/outcome.ts";
import { shimName } from "../../lib/paths.ts";
import { descendantsOf, isAlive, readMemory, readProcess } from "../../lib/process.ts";
import { findDeadRuns, isRunning } from "../../lib/runner/machine.ts";
import { readJunit, summary } from "../../lib/runner/tally.ts";
import { openRun } from "../../lib/scope.ts";
import { sweep } from "../../lib/sweep.ts";
import { WaitTimeout, waitFor } from "../../lib/wait.ts";

describe("waitFor", () => {
  test("answers the first value that is one", async () => {
    let calls = 0;
    expect(await waitFor("three", () => (++calls < 3 ? undefined : calls))).toBe(3);
  });

  test("says what did not come, and why the last look failed", async () => {
    const never = waitFor("a miracle", () => Promise.reject(new Error("none today")), { timeout: 30 });
    expect(await outcome(never)).toThrow(WaitTimeout);
    expect(await outcome(never)).toThrow("timed out after 30 ms waiting for a miracle: none today");
  });
});

describe("run", () => {
  test("keeps the streams apart and gives stdin and the code", async () => {
    const result = await run(["sh", "-c", "cat; echo err >&2; exit 3"], { stdin: "in" });
    expect(result).toMatchObject({ exitCode: 3, stdout: "in", stderr: "err\n", timedOut: false });
  });

  test("answers 128 and the signal", async () => {
    expect((await run(["sh", "-c", "kill -TERM $$"])).exitCode).toBe(143);
  });

  test("kills at its limit", async () => {
    const result = await run(["sleep", "20"], { timeout: 50 });
    expect(result).toMatchObject({ exitCode: 137, timedOut: true });
  });

  test("throws what the program said, with check", async () => {
    const failing = run(["sh", "-c", "echo no such luck >&2; exit 1"], { check: true });
    expect(await outcome(failing)).toThrow(CommandError);
    expect(await outcome(failing)).toThrow("exit code 1: no such luck");
  });
});

describe("parseEvent", () => {
  test("reads a line of ctr events", () => {
    const line = `2026-11-20 06:42:16.85 +0000 UTC ns /tasks/exit {"container_id":"c","exit_status":7}`;
    expect(parseEvent(line)).toMatchObject({
      timestamp: "2026-11-20 06:42:16.85 +0000 UTC",
      namespace: "ns",
      topic: "/tasks/exit",
      body: { container_id: "c", exit_status: 7 },
    });
  });

  test("refuses anything else", () => {
    expect(parseEvent("time=now level=info")).toBeUndefined();
  });
});

describe("readJunit", () => {
  test("subtracts failures and skips", () => {
    const xml = `<?xml version="1.0"?>\n<testsuites name="bun test" tests="9" assertions="1" failures="2" skipped="3" time="1">`;
    expect(readJunit(xml)).toEqual({ passed: 4, failed: 2, skipped: 3 });
  });

  test("is undefined for what is no report", () => {
    expect(readJunit("")).toBeUndefined();
    expect(readJunit("<testsuites name='x'>")).toBeUndefined();
  });

  test("bun writes what we read", async () => {
    const dir = mkdtempSync("/tmp/berth-junit-");
    try {
      const source = `import { test, expect } from "bun:test";
        test("a", () => {}); test("b", () => { expect(1).toBe(2); }); test.skip("c", () => {}); test("d", () => {});`;
      await Bun.write(join(dir, "x.test.ts"), source);
      const out = join(dir, "out.xml");
      await run([process.execPath, "test", "--reporter=junit", `--reporter-outfile=${out}`, "./x.test.ts"], {
        cwd: dir,
      });
      expect(readJunit(await Bun.file(out).text())).toEqual({ passed: 2, failed: 1, skipped: 1 });
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test("the last line", () => {
    expect(summary({ passed: 1, failed: 2, skipped: 3 })).toBe("1 passed, 2 failed, 3 skipped");
  });
});

test("tar writes what tar reads", async () => {
  const archive = tar([
    { name: "d/", mode: 0o755, directory: true },
    { name: "d/f", mode: 0o640, body: new TextEncoder().encode("x".repeat(1000)) },
    { name: "d/l", mode: 0o777, link: "f" },
  ]);
  const dir = mkdtempSync("/tmp/berth-tar-");
  try {
    const path = join(dir, "a.tar");
    await Bun.write(path, archive);
    const listing = await run(["tar", "tvf", path], { check: true });
    const lines = listing.stdout.split("\n").map((line) => line.replace(/\s+/g, " "));
    expect(lines[0]).toStartWith("drwxr-xr-x 0/0 0 ");
    expect(lines[1]).toStartWith("-rw-r----- 0/0 1000 ");
    expect(lines[2]).toEndWith("d/l -> f");
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("shimName follows containerd's rule (INV-1)", () => {
  expect(shimName("io.containerd.berth.v2")).toBe("containerd-shim-berth-v2");
});

test("readProcess, descendantsOf and readMemory see this process", () => {
  const own = readProcess(process.pid);
  expect(own?.ppid).toBe(process.ppid);
  expect(descendantsOf(process.ppid).map((p) => p.pid)).toContain(process.pid);
  const memory = readMemory(process.pid);
  if (memory) expect(memory.private).toBeGreaterThan(1_000_000);
  expect(readProcess(2 ** 22 + 1)).toBeUndefined();
});

describe("the leak check", () => {
  test("finds a process by its environment, names it, and sweep ends it", async () => {
    const outer = process.env["BERTH_TEST_RUN"];
    const scope = openRun();
    try {
      const before = inventory(scope);
      const child = Bun.spawn(["sleep", "77"], { env: { PATH: "/bin:/usr/bin", BERTH_TEST_RUN: scope.dir } });
      await waitFor("sleep to be seen", () => [...inventory(scope)].some((line) => line.endsWith("sleep 77")));
      expect(await outcome(expectNoLeak(before, () => inventory(scope), 50))).toThrow(
        /left behind:\n {2}process .*sleep 77/,
      );
      expect(sweep([scope.token]).join()).toContain("sleep 77");
      await child.exited;
      expect(isAlive(child.pid)).toBe(false);
      await expectNoLeak(before, () => inventory(scope));
    } finally {
      rmSync(scope.dir, { recursive: true });
      if (outer === undefined) delete process.env["BERTH_TEST_RUN"];
      else process.env["BERTH_TEST_RUN"] = outer;
    }
  });
});

describe("runs that are over", () => {
  test("a live run is not one, wherever its directory is; a dead one is found and not touched", async () => {
    const born = readProcess(process.pid)?.startTime.toString(36) ?? "";
    expect(isRunning(process.pid, born)).toBe(true);
    expect(isRunning(process.pid, "0")).toBe(false);
    const parent = readProcess(process.ppid)?.startTime.toString(36);
    const live = `/tmp/berth-test-${process.ppid}-${parent}`;
    const dead = "/tmp/berth-test-4194304-zzz";
    const marked = (dir: string): Bun.Subprocess =>
      Bun.spawn(["sleep", "78"], { env: { PATH: "/bin:/usr/bin", BERTH_TEST_RUN: dir } });
    const children = [marked(live), marked(dead)];
    try {
      await waitFor("the dead run to be seen", () =>
        findDeadRuns().some((line) => line === `process ${children[1]?.pid}: sleep 78`),
      );
      expect(findDeadRuns().join("\n")).not.toContain(`process ${children[0]?.pid}:`);
      expect(children.map((child) => isAlive(child.pid))).toEqual([true, true]);
    } finally {
      for (const child of children) child.kill("SIGKILL");
      await Promise.all(children.map((child) => child.exited));
    }
  });
});

/** The command `berth conformance`, as a person calls it: a good shim, and things that are none. */

import { describe, expect } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { run } from "../lib/command.ts";
import { root } from "../lib/paths.ts";
import { shimBinary, shimSuite } from "../lib/shim.ts";
import { findProcesses } from "../lib/sweep.ts";
import { waitFor } from "../lib/wait.ts";

const { test } = shimSuite();
const berth = join(root, "dist", "berth");
const runs = "/run/berth-conformance";

interface Ended {
  readonly pid: number;
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function conformance(args: readonly string[], signal?: NodeJS.Signals): Promise<Ended> {
  const child = Bun.spawn([berth, "conformance", ...args], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  if (signal !== undefined) setTimeout(() => child.kill(signal), 1500);
  const [stdout, stderr, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { pid: child.pid, status, stdout, stderr };
}

/** What a run has left on the machine. */
function leftOf(pid: number): string[] {
  const token = `conf-${pid.toString(36)}-`;
  const dirs = existsSync(runs) ? readdirSync(runs).filter((name) => name === String(pid)) : [];
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
  return [
    ...dirs,
    ...mounts.filter((line) => line.includes(token)),
    ...findProcesses([token]).map((p) => p.argv.join(" ")),
  ];
}

/** A program for the kit to be given as a shim. */
function program(dir: string, name: string, lines: string): string {
  const path = join(dir, name);
  writeFileSync(path, `#!/bin/sh\n${lines}\n`);
  chmodSync(path, 0o755);
  return path;
}

describe("berth conformance", () => {
  test(
    "a part of the checks holds for berth's own shim, and nothing is left",
    async () => {
      const only = "INV-*,ST-4,TT-*,T-STA-*,EV-1,DL-2";
      const ended = await conformance(["--shim", shimBinary, "--only", only, "--format", "json"]);
      const failed = (JSON.parse(ended.stdout) as { results: { id: string; outcome: string }[] }).results.filter(
        ({ outcome }) => outcome !== "pass",
      );
      expect(failed).toEqual([]);
      expect(ended.status).toBe(0);
      expect(leftOf(ended.pid)).toEqual([]);
    },
    { timeout: 120_000 },
  );

  test("Ctrl-C cleans up", async () => {
    const ended = await conformance(["--shim", shimBinary, "--only", "T-*"], "SIGINT");
    expect(ended.status).toBe(2);
    expect(leftOf(ended.pid)).toEqual([]);
  });

  test("a shim that says something on stderr fails the check that says so, and no other", async (rig) => {
    const noisy = program(rig.dir, "noisy", `echo warning >&2; exec ${shimBinary} "$@"`);
    const ended = await conformance(["--shim", noisy, "--only", "ST-5,ST-7,IN-4,EV-1.order"]);
    expect(ended.stdout.match(/^FAIL \S+/gm)).toEqual(["FAIL ST-5.stderr"]);
    expect(ended.status).toBe(1);
  });

  test(
    "what is no shim fails within its limits, and is ended",
    async (rig) => {
      const programs = [
        ["hangs", "exec sleep 1000"],
        ["rubbish", "exec yes"],
        ["holds", "sleep 1000 & echo unix:///nobody"],
        // Without a line end to find, tail keeps all that it has read.
        ["eats", "exec tail /dev/zero"],
      ] as const;
      const refuse = async ([name, lines]: (typeof programs)[number]): Promise<void> => {
        const shim = program(rig.dir, name, lines);
        const ended = await conformance(["--shim", shim, "--timeout", "2", "--only", "ST-5,IO-1.fifo"]);
        expect(ended.stderr).toContain("no shim can be started");
        // On a slow machine the limit of time comes first.
        if (name === "eats")
          expect(ended.stderr).toMatch(/killed for having more than \d+ MiB of memory|within 5000 ms/);
        expect(ended.status).toBe(1);
        // Gigabytes take the kernel a moment to give back, of a process that is killed.
        await waitFor("nothing to be left", () => leftOf(ended.pid).length === 0, { timeout: 2000 });
      };
      await Promise.all(programs.map(refuse));
    },
    { timeout: 90_000 },
  );

  test("without root it is told in one sentence", async () => {
    // Where anybody can get at it: the repository may lie in a directory of root's own.
    const dir = mkdtempSync("/tmp/berth-test-nobody-");
    try {
      chmodSync(dir, 0o755);
      copyFileSync(berth, join(dir, "berth"));
      chmodSync(join(dir, "berth"), 0o755);
      const user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
      const argv = [join(dir, "berth"), "conformance", "--shim", shimBinary];
      const { exitCode, stderr } = await run(["setpriv", ...user, ...argv], { cwd: "/" });
      expect(stderr).toBe("berth conformance: run it as root: it makes mounts, cgroups and containers\n");
      expect(exitCode).toBe(2);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test("a shim that is not there is told in one sentence", async () => {
    const ended = await conformance(["--shim", "/no/such/shim"]);
    expect(ended).toMatchObject({
      status: 2,
      stderr: "berth conformance: --shim /no/such/shim: there is no such file\n",
    });
  });
});

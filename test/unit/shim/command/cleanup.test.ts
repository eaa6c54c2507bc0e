/** Whom `delete` may end: what a dead shim left at work, and nobody else. */

import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "../../../lib/paths.ts";
import { childrenOf, isAlive } from "../../../lib/process.ts";
import { waitFor } from "../../../lib/wait.ts";

const base = mkdtempSync(join(tmpdir(), "berth-cleanup-"));
const bundle = join(base, "web");
mkdirSync(bundle);
const started: number[] = [];
afterEach(() => {
  for (const pid of started.splice(0)) if (isAlive(pid)) process.kill(pid, 9);
});
afterAll(() => rmSync(base, { recursive: true }));

/** A process that leads a session, as a shim does, and one in it. */
async function session(): Promise<{ leader: Bun.Subprocess; member: number }> {
  const leader = Bun.spawn(["sh", "-c", "sleep 60 & wait"], { detached: true, stdio: ["ignore", "ignore", "ignore"] });
  const member = (await waitFor("the member", () => childrenOf(leader.pid)[0])).pid;
  started.push(leader.pid, member);
  return { leader, member };
}

function runDelete(shimPid: number): { status: number; stderr: string } {
  writeFileSync(join(bundle, "shim.pid"), `${shimPid}\n`);
  writeFileSync(join(bundle, "runtime"), "/bin/true");
  const argv = [process.execPath, join(root, "shim/main.ts"), "shim", "-namespace", "default", "-id", "web", "delete"];
  const { exitCode, stderr } = Bun.spawnSync(argv, { cwd: bundle });
  return { status: exitCode, stderr: stderr.toString() };
}

test("what is left of a dead shim's session is killed", async () => {
  const { leader, member } = await session();
  leader.kill(9);
  await leader.exited;
  expect(isAlive(member)).toBe(true);
  const { status, stderr } = runDelete(leader.pid);
  expect(status).toBe(0);
  expect(stderr).toContain(`kill sleep ${member}, left by shim ${leader.pid}`);
  await waitFor("its end", () => !isAlive(member));
});

test("a stranger's session under a pid that is used again is left alone", async () => {
  const { leader, member } = await session();
  expect(runDelete(leader.pid)).toEqual({ status: 0, stderr: "" });
  expect([leader.pid, member].map(isAlive)).toEqual([true, true]);
});

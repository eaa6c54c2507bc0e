/**
 * RS-4: containerd is replaced by another version while shims and containers live, forward through all versions and
 * back. Run by the row "upgrade" of the matrix, which puts the versions' directories into BERTH_TEST_VERSIONS as
 * `1.6=/usr/bin:1.7=/...`.
 */

import { afterAll, beforeAll, expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Daemon, tail } from "../lib/daemon.ts";
import { expectNoLeak, inventory } from "../lib/leak.ts";
import { pathWithDist, whyNoContainers } from "../lib/paths.ts";
import { findShim, isAlive } from "../lib/process.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { Tasks } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

const versions = (process.env["BERTH_TEST_VERSIONS"] ?? "")
  .split(":")
  .filter((part) => part.includes("="))
  .map((part) => ({ name: part.slice(0, part.indexOf("=")), bin: part.slice(part.indexOf("=") + 1) }));
const impossible =
  whyNoContainers() ?? (versions.length < 2 ? "the matrix runs it: npm run test:matrix -- upgrade" : undefined);

/** Forward, and back to the oldest. */
const steps = [...versions.slice(1), ...versions.slice(0, -1).reverse()];

const scope = processScope();
const open = (bin: string): Daemon =>
  new Daemon(join(scope.dir, "d"), `${scope.token}-up`, { env: { PATH: `${bin}:${pathWithDist()}` } });
let daemon: Daemon;

if (impossible === undefined) {
  beforeAll(async () => {
    daemon = open(versions[0]?.bin ?? "");
    await daemon.start();
    await daemon.importImage();
  }, 60_000);
  afterAll(async () => {
    await daemon.stop();
    await expectNoLeak(new Set([...inventory(scope)].filter((item) => item.startsWith("descriptor"))), () =>
      inventory(scope, daemon, ["running", "paused"]),
    );
    daemon.remove();
  }, 60_000);
}

/** A test that shows containerd's log when it fails. */
function upgradeTest(name: string, body: () => Promise<void>): void {
  const told = async (): Promise<void> => {
    const before = daemon;
    const logged = before.log().length;
    try {
      await body();
    } catch (error) {
      console.error(`---- containerd's log\n${tail(before.log().slice(logged), 60)}\n----`);
      throw error;
    }
  };
  testUnless(impossible, name, told, 120_000);
}

/** The version that answers, asked of the daemon itself. */
async function serverVersion(): Promise<string> {
  const { stdout } = await daemon.ctr(["version"], { check: true });
  return /Server:\s+Version:\s+v?(\S+)/.exec(stdout)?.[1] ?? stdout;
}

const living = new Map<string, { pid: number; shim: number }>();

upgradeTest("RS-4 before: one container runs, one is paused", async () => {
  const tasks = new Tasks(daemon);
  for (const id of ["running", "paused"]) {
    await daemon.runDetached(id, ["sleep", "1000"]);
    living.set(id, { pid: (await tasks.get(id)).pid, shim: findShim(daemon.namespace, id)?.pid ?? 0 });
  }
  await tasks.pause("paused");
});

for (const [at, step] of steps.entries()) {
  const from = at === 0 ? versions[0] : steps[at - 1];
  const signal = at % 2 === 0 ? "SIGKILL" : "SIGTERM";
  upgradeTest(
    `RS-4 RS-3 from containerd ${from?.name} by ${signal} to ${step.name}: all containers are adopted, an exit meanwhile is told`,
    async () => {
      const ending = `ending${at}`;
      let tasks = new Tasks(daemon);
      await daemon.runDetached(ending, ["sh", "-c", "trap 'exit 23' TERM; while :; do usleep 20000; done"]);
      const { pid } = await tasks.get(ending);
      await Bun.sleep(200);
      if (signal === "SIGKILL") await daemon.kill();
      else await daemon.stop();
      process.kill(pid, "SIGTERM");
      await waitFor("the container to end", () => !isAlive(pid));

      daemon = open(step.bin);
      await daemon.start();
      tasks = new Tasks(daemon);
      expect(await serverVersion()).toStartWith(step.name);
      expect(await tasks.get(ending)).toMatchObject({ pid, status: "STOPPED", exitStatus: 23 });
      expect(await tasks.finish(ending)).toBe(23);
      for (const [id, { pid, shim }] of living) {
        expect(await tasks.get(id)).toMatchObject({ pid, status: id === "paused" ? "PAUSED" : "RUNNING" });
        expect(isAlive(shim)).toBe(true);
        expect(await tasks.pids(id)).toEqual([pid]);
        expect((await tasks.metrics(id)).value.length).toBeGreaterThan(20);
      }
      expect(await daemon.exec("running", ["echo", step.name])).toMatchObject({
        stdout: `${step.name}\n`,
        exitCode: 0,
      });
      // The shim of a container made under the version that is running now.
      expect((await daemon.run(`new${at}`, ["echo", "fresh"])).stdout).toBe("fresh\n");
    },
  );
}

upgradeTest("RS-4 after: the containers end as if nothing had been", async () => {
  const tasks = new Tasks(daemon);
  await tasks.resume("paused");
  for (const [id, { pid, shim }] of living) {
    expect(await tasks.killAndFinish(id)).toBe(137);
    expect(isAlive(pid)).toBe(false);
    await waitFor("the shim to end", () => !isAlive(shim));
    expect(existsSync(daemon.bundle(id))).toBe(false);
  }
});

/** containerd stops, and comes back, perhaps as another version (contract 1.16). */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { equal, holds } from "../assert.ts";
import { type Check, type Section, Violation } from "../check.ts";
import { type Dialect, dialects } from "../rig/dialect.ts";
import { isAlive } from "../rig/machine.ts";
import { until } from "../rig/wait.ts";

/** A shim that one version has started is taken over by another, which finds it by its bundle. */
const takeovers: readonly Check[] = Object.values<Dialect>(dialects).map((dialect) => ({
  id: `RS-4.${dialect.containerd}`,
  level: "must",
  title: `A shim that containerd ${dialect.containerd} has started is found by another version, in the bundle's file \`address\`.`,
  source: "core/runtime/v2/shim.go (loadShim, restoreBootstrapParams); containerd#10984",
  body: async (t) => {
    const bundle = t.bundle();
    const found = await t.startCall(bundle, { dialect }).catch((error: unknown) => {
      if (!(error instanceof Violation) || t.subject.broken !== undefined) throw error;
      return t.skip(`containerd ${dialect.containerd} cannot start the shim: see ST-4.${dialect.containerd}`);
    });
    const shim = await t.connect(bundle, found);
    if (shim.found.version > 2) return t.skip(`1.6 and 1.7 cannot take over a shim of version ${shim.found.version}`);
    await shim.create();
    await shim.task.start(shim.id);
    shim.task.connection.close();
    const path = join(shim.bundle.path, "address");
    holds("a file `address`", existsSync(path), "there is none");
    const plain = { version: 2, address: readFileSync(path, "utf8"), protocol: "ttrpc", form: "plain" } as const;
    const later = await t.connect(shim.bundle, plain);
    // None, or NotFound, and containerd takes the shim for a leaked one. Which they are is for T-PID-1.
    equal("the number of pids that it is told", (await later.task.pids(shim.id)).length, 1);
    await later.exec("e1", ["true"]);
    equal("the exit status of an exec", (await later.task.wait(shim.id, "e1")).exitStatus, 0);
    equal("the exit status", (await later.kill()).exitStatus, 137);
    await later.finish();
  },
}));

export const restart: Section = {
  name: "restart",
  checks: [
    {
      id: "RS-3.wait",
      level: "must",
      title: "An exit while containerd was away is answered by Wait, State and Delete when it is back.",
      source: "containerd#3177, #6771, #12678",
      body: async (t) => {
        const shim = await t.run({ args: t.script("sleep 0.3; exit 9") });
        const { pid } = await shim.task.state(shim.id);
        t.events.stop();
        shim.task.connection.close();
        await until("init to end", () => !isAlive(pid));
        await Bun.sleep(200);
        t.events.start();
        const back = await t.connect(shim.bundle, shim.found);
        equal("the exit status of Wait", (await back.task.wait(shim.id)).exitStatus, 9);
        const { status, exitStatus } = await back.task.state(shim.id);
        equal("status and exit status of State", [status, exitStatus], ["STOPPED", 9]);
        equal("the exit status of Delete", (await back.task.delete(shim.id)).exitStatus, 9);
      },
    },
    {
      id: "RS-3.exec",
      level: "must",
      title: "The exit of an exec while containerd was away is answered when it is back.",
      source: "containerd#6771",
      body: async (t) => {
        const shim = await t.run();
        const pid = await shim.exec("e1", t.script("sleep 0.3; exit 9"));
        t.events.stop();
        shim.task.connection.close();
        await until("the exec to end", () => !isAlive(pid));
        await Bun.sleep(200);
        t.events.start();
        const back = await t.connect(shim.bundle, shim.found);
        equal("the exit status of Wait", (await back.task.wait(shim.id, "e1")).exitStatus, 9);
        equal("the exit status of Delete", (await back.task.delete(shim.id, "e1")).exitStatus, 9);
        equal("the status of init", (await back.task.state(shim.id)).status, "RUNNING");
      },
    },
    ...takeovers,
  ],
};

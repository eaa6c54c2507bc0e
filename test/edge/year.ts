/**
 * A year of an edge node, played in minutes: each step is something that happens to such a machine. After every one what
 * must run runs, and `berth check` finds nothing.
 */

import { expect } from "bun:test";
import { closeSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { run } from "../lib/command.ts";
import { findShim } from "../lib/process.ts";
import { waitFor } from "../lib/wait.ts";
import { findFaketime } from "./machine.ts";
import { containers, type EdgeNode } from "./node.ts";

/** Something that happens. */
export interface Step {
  readonly name: string;
  /** Why it cannot happen here; undefined when it can. */
  skip?(): string | undefined;
  /** @throws Error when the node did something else than it should */
  happen(node: EdgeNode): Promise<void>;
}

const kill = (pid: number | undefined): void => {
  if (pid !== undefined && pid > 0) process.kill(pid, "SIGKILL");
};

/** Waits until `berth apps` says this of the application. */
async function applicationIs(node: EdgeNode, what: string, pattern: RegExp): Promise<void> {
  let last = "";
  await waitFor(
    `the application to be ${what}`,
    async () => {
      last = await node.machine.ask(["apps", "ls", "--format", "json"]);
      return pattern.test(last);
    },
    { timeout: 90_000, interval: 200 },
  ).catch((error: Error) => {
    throw new Error(`${error.message}: ${last}\n${node.machine.log().slice(-4000)}`);
  });
}

const deploy: Step = {
  name: "deploy: a file in the directory is an application",
  async happen(node) {
    await node.publish("v1");
    node.write("v1");
  },
};

const upgrade: Step = {
  name: "upgrade: a new version in the file replaces the old one",
  async happen(node) {
    const next = `v${Number(node.version.slice(1)) + 1}`;
    await node.publish(next);
    node.version = next;
    node.write(next);
  },
};

const badUpgrade: Step = {
  name: "bad upgrade: a version whose health check fails goes back to the last good one",
  async happen(node) {
    const before = await node.pids();
    await node.publish("v666");
    node.write("v666", { wrong: true });
    await applicationIs(node, "rolled back", /rolled.?back/i);
    await node.isWell();
    expect((await node.pids()).size).toBe(before.size);
    // The file is mended, as a person would; nothing needs to change for it.
    node.write(node.version);
  },
};

const powerCut: Step = {
  name: "power cut",
  async happen({ machine }) {
    await machine.cutPower();
    await machine.boot();
  },
};

const powerCutUnderWay: Step = {
  name: "power cut in the midst of an upgrade",
  async happen(node) {
    const next = `v${Number(node.version.slice(1)) + 1}`;
    await node.publish(next);
    node.version = next;
    const begun = (): number => node.machine.log().split("application applying").length;
    const before = begun();
    node.write(next);
    await waitFor("the upgrade to begin", () => begun() > before, { timeout: 30_000 });
    await node.machine.cutPower();
    await node.machine.boot();
  },
};

const fullDisk: Step = {
  name: "full disk: what runs goes on, what is new is refused, what is removed goes",
  async happen(node) {
    const { machine } = node;
    await machine.ask(["run", "-d", "--name", "spare", "--network", "none", node.image(node.version), "sleep", "1000"]);
    await node.publish("v99");
    const filler = join(machine.disk, "filler");
    const file = openSync(filler, "w");
    try {
      const zeros = new Uint8Array(1 << 20);
      for (;;) writeSync(file, zeros);
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
    } finally {
      closeSync(file);
    }
    const pulled = await machine.berth(["pull", node.image("v99")]);
    expect(pulled.exitCode).not.toBe(0);
    expect(pulled.stderr).toMatch(/no room|full|space|watermark|critical/i);
    const refused = await machine.berth(["run", "--rm", "--network", "none", node.image(node.version), "true"]);
    expect(`${refused.exitCode} ${refused.stderr}`).toMatch(/^125 .*(?:no room left|no room for new containers)/s);
    await machine.ask(["rm", "-f", "spare"]);
    expect((await node.states()).has("spare")).toBe(false);
    for (const [id, state] of await node.states()) {
      if ((containers as readonly string[]).includes(id)) expect(`${id} ${state}`).toStartWith(`${id} running`);
    }
    rmSync(filler);
    await machine.ask(["pull", node.image("v99")]);
    await machine.ask(["rmi", node.image("v99")]);
  },
};

const deadNetwork: Step = {
  name: "dead network: what ends starts again without it",
  async happen(node) {
    const { machine } = node;
    const link = (state: string) =>
      run(machine.network.within(["ip", "link", "set", "lo", state]), { check: true, timeout: 5_000 });
    await link("down");
    try {
      const before = await node.pids();
      kill(before.get("shop-meter-1"));
      await waitFor(
        "the meter to run again",
        async () => {
          const pid = (await node.pids()).get("shop-meter-1") ?? 0;
          return pid > 0 && pid !== before.get("shop-meter-1");
        },
        { timeout: 60_000, interval: 100 },
      );
      expect((await machine.berth(["pull", node.image("v77")], 10_000)).exitCode).not.toBe(0);
    } finally {
      await link("up");
    }
  },
};

const clockJump: Step = {
  name: "the clock jumps by ten years, and back",
  skip: () => (findFaketime() === undefined ? "libfaketime is not installed (apt-get install faketime)" : undefined),
  async happen(node) {
    const before = await node.pids();
    for (const offset of ["+10y", "+0"]) {
      node.machine.setClock(offset);
      // Timers that went by this clock would all be due, or none for ten years.
      await Bun.sleep(5_000);
      await node.isWell();
      expect(await node.pids()).toEqual(before);
      const pid = before.get("shop-meter-1");
      kill(pid);
      await waitFor(
        "the meter to run again",
        async () => {
          const now = (await node.pids()).get("shop-meter-1") ?? 0;
          return now > 0 && now !== pid;
        },
        { timeout: 60_000, interval: 100 },
      );
      before.set("shop-meter-1", (await node.pids()).get("shop-meter-1") ?? 0);
    }
  },
};

const registryGone: Step = {
  name: "registry gone: what is here runs, what is not is refused, and the running version stays",
  async happen(node) {
    const { machine, registry } = node;
    await registry.off();
    try {
      node.write("v1234");
      await applicationIs(node, "failing to pull", /v1234/);
      await node.isWell();
      await machine.cutPower();
      await machine.boot();
      await node.isWell();
      node.write(node.version);
      await node.isWell();
    } finally {
      await registry.on();
    }
  },
};

const killDaemon: Step = {
  name: "SIGKILL of berthd",
  async happen(node) {
    const before = await node.pids();
    const { machine } = node;
    kill(machine.pid);
    await waitFor("berthd to be gone", () => machine.pid === undefined);
    await machine.boot();
    await node.isWell();
    expect(await node.pids()).toEqual(before);
  },
};

const killShims: Step = {
  name: "SIGKILL of each shim",
  async happen(node) {
    for (const id of containers) {
      kill(findShim(node.machine.namespace, id)?.pid);
      await node.isWell();
    }
  },
};

const killContainers: Step = {
  name: "SIGKILL of each container's first process",
  async happen(node) {
    for (const pid of (await node.pids()).values()) kill(pid);
  },
};

const killAll: Step = {
  name: "SIGKILL of berthd and every shim at once",
  async happen(node) {
    const { machine } = node;
    const shims = containers.map((id) => findShim(machine.namespace, id)?.pid);
    kill(machine.pid);
    for (const pid of shims) kill(pid);
    await waitFor("berthd to be gone", () => machine.pid === undefined);
    await machine.boot();
  },
};

const corruptBlob: Step = {
  name: "corrupt blob: check finds it, --repair fetches it again",
  async happen(node) {
    const { machine } = node;
    const directory = join(machine.root, "io.containerd.content.v1.content/blobs/sha256");
    const largest = readdirSync(directory)
      .map((name) => join(directory, name))
      .sort((a, b) => statSync(b).size - statSync(a).size)[0];
    if (largest === undefined) throw new Error(`there is no blob in ${directory}`);
    const file = openSync(largest, "r+");
    writeSync(file, Buffer.from("rust"), 0, 4, statSync(largest).size >> 1);
    closeSync(file);
    const found = await machine.local(["check", "--verify"]);
    expect(found.exitCode).toBe(1);
    const repaired = await machine.local(["check", "--verify", "--repair"]);
    expect(`${repaired.stdout}${repaired.stderr}`).toMatch(/repaired/i);
    expect(repaired.exitCode).toBe(0);
    expect(readFileSync(largest).includes("rust")).toBe(false);
    await node.isClean("--verify");
  },
};

const reboot: Step = {
  name: "reboot",
  async happen({ machine }) {
    await machine.shutDown();
    await machine.boot();
  },
};

const stick: Step = {
  name: "a USB stick with an image",
  async happen(node) {
    const { machine } = node;
    const { writeVersion } = await import("./versions.ts");
    machine.plugIn(writeVersion(machine.dir, "localhost/stick:latest", "stick"), "stick.tar");
    await waitFor("the image of the stick", async () => (await machine.ask(["images"])).includes("stick"), {
      timeout: 60_000,
      interval: 200,
    });
    const said = await machine.ask(["run", "--rm", "--network", "none", "localhost/stick:latest", "cat", "/version"]);
    expect(said).toBe("stick\n");
  },
};

/** The year. */
export const year: readonly Step[] = [
  deploy,
  upgrade,
  badUpgrade,
  powerCut,
  killDaemon,
  fullDisk,
  stick,
  deadNetwork,
  clockJump,
  powerCutUnderWay,
  registryGone,
  killShims,
  killContainers,
  killAll,
  corruptBlob,
  reboot,
];

/** What of it is played with every run of the tests. */
export const shortYear: readonly Step[] = [deploy, upgrade, badUpgrade, killAll, powerCut];

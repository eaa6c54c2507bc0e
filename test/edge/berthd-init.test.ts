/** berthd as process 1 of a container: it waits for every orphan, outlives its daemon, and ends what runs in order (R20, R22). */

import { afterEach, expect } from "bun:test";
import { join } from "node:path";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { childrenOf, descendantsOf, isAlive } from "../lib/process.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { Tasks } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

const LONG = { timeout: 30_000 };
const impossible = whyNoContainers();

/** A daemon under an init of its own, in its own pid, mount and network namespaces. */
class InitBerthd extends Berthd {
  readonly extra: string[] = [];

  protected override command(): string[] {
    return ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", ...super.command(), ...this.extra];
  }

  /** Process 1 of the namespace. */
  get init(): number {
    const [init] = childrenOf(this.pid ?? 0);
    if (init === undefined) throw new Error("there is no init");
    return init.pid;
  }

  /** The daemon, which is init's only child when all is well. */
  get daemon(): number {
    return childrenOf(this.init).find(({ argv }) => argv[0] === "berthd")?.pid ?? 0;
  }

  enter(script: string) {
    return run(["nsenter", "-t", String(this.init), "-p", "-m", "-n", "--", "sh", "-c", script], { check: true });
  }
}

let daemon: InitBerthd | undefined;
let count = 0;

async function start(): Promise<InitBerthd> {
  const { dir, token } = processScope();
  const made = new InitBerthd(join(dir, `i${++count}`), `${token}-i${count}`);
  daemon = made;
  await made.start();
  await made.importImage();
  return made;
}

afterEach(async () => {
  await daemon?.kill();
  daemon?.remove();
  daemon = undefined;
});

/** Zombies among the children of init. */
function zombies(init: number): number {
  return childrenOf(init).filter(({ state }) => state === "Z").length;
}

testUnless(
  impossible,
  "R20: process 1 waits for 200 orphans and takes no status from the daemon",
  async () => {
    const made = await start();
    await made.runDetached("c1", ["sleep", "1000"]);
    const before = made.daemon;
    const orphans = made.enter("for i in $(seq 200); do (sleep 0.0$((i % 10)) &); done");
    for (let n = 1; n <= 5; n++) {
      const { exitCode } = await made.run(`r${n}`, ["sh", "-c", `exit ${n}`]);
      expect(exitCode).toBe(n);
    }
    await orphans;
    expect((await made.exec("c1", ["sh", "-c", "exit 9"])).exitCode).toBe(9);
    await waitFor("the orphans to be gone", () => zombies(made.init) === 0, LONG);
    await waitFor(
      "init to have one child again, and the shims",
      () => {
        const names = childrenOf(made.init).map(({ argv }) => argv.join(" "));
        return names.every((name) => name.startsWith("berthd") || name.includes("containerd-shim"));
      },
      LONG,
    );
    expect(zombies(before)).toBe(0);
    expect(made.daemon).toBe(before);
    expect((await made.enter("cat /sys/class/net/lo/flags; mount | grep -c ' /proc '")).stdout).toStartWith("0x9\n");
  },
  90_000,
);

testUnless(
  impossible,
  "R20: the daemon is started again when it dies, and containers go on",
  async () => {
    const made = await start();
    await made.runDetached("c1", ["sleep", "1000"]);
    const { pid } = await new Tasks(made).get("c1");
    const before = made.daemon;
    process.kill(before, "SIGKILL");
    await waitFor("another daemon", () => made.daemon !== 0 && made.daemon !== before, LONG);
    await waitFor("its answer", async () => (await made.status("c1")) === "RUNNING", LONG);
    // A pid of the namespace: the same process.
    expect((await new Tasks(made).get("c1")).pid).toBe(pid);
    expect(made.log()).toContain("berthd ended with status 137: it is started again");
  },
  60_000,
);

testUnless(
  impossible,
  "R22: SIGTERM ends containers in order, the stubborn ones by force, and then process 1 with status 0",
  async () => {
    const made = await start();
    const polite = ["sh", "-c", "trap 'echo ended >/dev/null; exit 0' TERM; while :; do sleep 0.05; done"];
    const flags = (...labels: string[]) => ["--null-io", ...labels.flatMap((label) => ["--label", label])];
    await made.runDetached("db", polite, flags("containerd.io/restart.status=running"));
    const waits = `berth/depends-on=${JSON.stringify([{ id: "db", condition: "started" }])}`;
    await made.runDetached("web", polite, flags(waits, "containerd.io/restart.status=running"));
    // Without a handler of its own, process 1 of a container does not even see SIGTERM.
    await made.runDetached("stubborn", ["sleep", "1000"], flags("berth/stop-timeout=500"));
    const init = made.init;
    const all = [init, ...descendantsOf(init).map(({ pid }) => pid)];
    const begun = performance.now();
    process.kill(init, "SIGTERM");
    await waitFor("the end", () => !made.running, LONG);
    expect(performance.now() - begun).toBeLessThan(20_000);
    expect(all.filter(isAlive)).toEqual([]);
    const log = made.log();
    const order = ["web", "db", "stubborn"].map((id) => log.search(new RegExp(`stopped container" .*id=${id}\\b`)));
    expect(Math.min(...order)).toBeGreaterThan(0);
    expect(order[0]).toBeLessThan(order[1] ?? 0);
    // The next boot starts what ran, and not what nobody asked to be kept.
    await made.start();
    await waitFor("db", async () => (await made.status("db")) === "RUNNING", LONG);
    await waitFor("web", async () => (await made.status("web")) === "RUNNING", LONG);
    expect(await made.status("stubborn")).toBeUndefined();
    process.kill(made.init, "SIGTERM");
    await waitFor("the end", () => !made.running, LONG);
  },
  90_000,
);

testUnless(
  impossible,
  "a daemon that cannot run ends process 1 with its status",
  async () => {
    const argv = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", builtBerthd, "--no-such-flag"];
    const { exitCode, stderr } = await run(argv, { timeout: 30_000 });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("no-such-flag");
  },
  60_000,
);

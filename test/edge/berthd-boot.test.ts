/** A node that lost its power: what ran runs again, in order and soon, whatever else is in the store (R30). */

import { afterEach, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GrpcClient } from "../../supervisor/client/grpc.ts";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { imageName } from "../lib/image.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { allRunning, fillStore, keepRunning, powerCut } from "../lib/reboot.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { Tasks } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

const LONG = { timeout: 60_000 };
const impossible = whyNoContainers();
const whyNoStrace = impossible ?? (Bun.which("strace") === null ? "strace is not installed" : undefined);

/** A daemon whose opens of files can be followed. */
class TracedBerthd extends Berthd {
  isTraced = false;

  get trace(): string {
    return join(this.dir, "trace");
  }

  protected override command(): string[] {
    const strace = ["strace", "-f", "-qq", "-e", "trace=open,openat,getdents64", "-o", this.trace];
    return [...(this.isTraced ? strace : []), ...super.command()];
  }
}

let daemon: TracedBerthd | undefined;
let count = 0;

async function start(): Promise<TracedBerthd> {
  const { dir, token } = processScope();
  const made = new TracedBerthd(join(dir, `b${++count}`), `${token}-b${count}`);
  daemon = made;
  await made.start();
  await made.importImage();
  return made;
}

afterEach(async () => {
  if (daemon !== undefined) await powerCut(daemon);
  daemon?.remove();
  daemon = undefined;
});

type Labels = Record<string, string>;

async function create(made: Berthd, id: string, labels: Labels, command: string[]): Promise<void> {
  const all = { "containerd.io/restart.status": "running", "berth/app": "boot", ...labels };
  const flags = Object.entries(all).flatMap(([name, value]) => ["--label", `${name}=${value}`]);
  const argv = [
    "containers",
    "create",
    ...flags,
    "--runtime",
    "io.containerd.runc.v2",
    "--snapshotter",
    made.snapshotter,
  ];
  await made.ctr([...argv, "--", imageName, id, ...command], { check: true });
}

/** How often files were opened and directories read below the root, but for the database. */
function touched(made: TracedBerthd): number {
  const lines = readFileSync(made.trace, "utf8").split("\n");
  return (
    lines.filter((line) => line.includes(made.root) && !line.includes("berth.db")).length +
    lines.filter((line) => line.includes("getdents64(")).length
  );
}

testUnless(
  whyNoStrace,
  "R30: after a power cut all containers run again, and no more is read where there is more in the store",
  async () => {
    const made = await start();
    await keepRunning(
      made,
      Array.from({ length: 12 }, (_, n) => `c${n}`),
    );
    const opens: number[] = [];
    for (const more of [0, 300]) {
      await fillStore(made, more, more / 2);
      await powerCut(made);
      made.isTraced = true;
      await made.start();
      // Clients are answered before all containers are up: it was, or this would not be asked.
      await allRunning(made, 12);
      await powerCut(made);
      opens.push(touched(made));
      made.isTraced = false;
      await made.start();
      await allRunning(made, 12);
    }
    const [few = 0, many = 0] = opens;
    expect(few).toBeGreaterThan(0);
    // Three hundred blobs and half as many snapshots: a scan would add hundreds.
    expect(many).toBeLessThan(few + 150);
  },
  180_000,
);

testUnless(
  impossible,
  "R30: policies and the order of start hold over a power cut",
  async () => {
    const made = await start();
    const api = new GrpcClient(made.address);
    const forever = ["sleep", "1000"];
    const on = (id: string, condition: string): Labels => ({ "berth/depends-on": JSON.stringify([{ id, condition }]) });
    const policy = (name: string): Labels => ({ "containerd.io/restart.policy": name });
    const check = { "berth/health": JSON.stringify({ test: ["CMD", "test", "-e", "/well"], interval: 100 }) };
    await create(made, "job", policy("no"), ["sh", "-c", "sleep 0.2"]);
    await create(made, "db", { ...policy("unless-stopped"), ...check, ...on("job", "completed") }, [
      ...["sh", "-c", "rm -f /well; sleep 1; touch /well; sleep 1000"],
    ]);
    await create(made, "web", { ...policy("always"), ...on("db", "healthy") }, forever);
    await create(made, "lost", { ...policy("always"), ...on("nobody", "started") }, forever);
    await create(made, "broken", policy("always"), ["/no-such-program"]);
    await create(
      made,
      "stopped",
      { ...policy("unless-stopped"), "containerd.io/restart.explicitly-stopped": "true" },
      forever,
    );
    await create(made, "failing", policy("on-failure:2"), ["sh", "-c", "exit 3"]);
    await create(made, "cut", policy("on-failure:1"), forever);
    try {
      for (const boot of [1, 2]) {
        await waitFor("web", async () => (await made.status("web")) === "RUNNING", LONG);
        await waitFor("cut", async () => (await made.status("cut")) === "RUNNING", LONG);
        const describe = (containerId: string) =>
          api.call("berth.v1.Upkeep", "DescribeRestarts", { containerId }, { namespace: made.namespace });
        expect((await describe("lost")).waitingFor).toEqual(["nobody, which does not exist"]);
        await waitFor("the error", async () => (await describe("broken")).lastError.includes("no-such-program"), LONG);
        await waitFor("the end of patience", async () => (await describe("failing")).hasGivenUp, LONG);
        expect(await made.status("stopped")).toBeUndefined();
        expect(await made.status("lost")).toBeUndefined();
        if (boot === 2) break;
        const from = made.log().length;
        await powerCut(made);
        await made.start();
        await waitFor("web", async () => (await made.status("web")) === "RUNNING", LONG);
        const log = made.log().slice(from);
        const order = ["container is healthy.* id=db", "restarted container.* id=web"].map((line) =>
          log.search(new RegExp(line)),
        );
        expect(order[0]).toBeGreaterThan(0);
        expect(order[0]).toBeLessThan(order[1] ?? 0);
        // The job had ended well: it does not run again.
        expect(log).not.toMatch(/restarted container.* id=job/);
      }
    } finally {
      api.close();
    }
  },
  120_000,
);

testUnless(
  impossible,
  "R22: the shims of stubborn containers and the daemon end at once on SIGTERM, and the containers go on",
  async () => {
    const made = await start();
    const deaf = ["sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1; done"];
    await made.runDetached("deaf", deaf);
    await made.runDetached("paused", ["sleep", "1000"]);
    await made.ctr(["tasks", "pause", "paused"], { check: true });
    const tasks = new Tasks(made);
    await tasks.createContainer("created", imageName, ["sleep", "1000"], "io.containerd.runc.v2");
    await tasks.createTask("created");
    const { stdout } = await run([
      "pgrep",
      "-f",
      `containerd-shim.* -namespace ${made.namespace} |namespace ${made.namespace}`,
    ]);
    const shims = stdout
      .trim()
      .split("\n")
      .map(Number)
      .filter((pid) => pid > 0 && pid !== made.pid);
    expect(shims.length).toBeGreaterThanOrEqual(3);
    const begun = performance.now();
    const stopping = made.stop();
    for (const pid of shims) process.kill(pid, "SIGTERM");
    await stopping;
    await waitFor("the shims to end", () => shims.every((pid) => !isThere(pid)), { timeout: 15_000 });
    // Generous: the machine that runs this has other things to do. What is wrong takes ninety seconds.
    expect(performance.now() - begun).toBeLessThan(15_000);
  },
  90_000,
);

function isThere(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
}

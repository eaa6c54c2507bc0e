/**
 * SIGKILL to berthd at random moments under load: it is back in under a second, has everything that it said was done,
 * adopts every container, tells every exit once, and `berth check` finds nothing wrong.
 *
 * BERTH_CRASHES: how often (300; `--quick` 25), BERTH_SEED: what chance begins with.
 */

import { afterAll, beforeAll, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { expectNoLeak, inventory } from "../lib/leak.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { Random } from "../lib/random.ts";
import { Registry } from "../lib/registry.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { findProcesses } from "../lib/sweep.ts";
import { waitFor } from "../lib/wait.ts";
import { Exits } from "./exits.ts";
import { Load, services, within } from "./load.ts";
import { broken, Model } from "./model.ts";
import { check, survey } from "./survey.ts";

const crashes = Number(process.env["BERTH_CRASHES"] ?? (process.env["BERTH_QUICK"] ? 25 : 300));
const seed = Number(process.env["BERTH_SEED"] ?? 20_261_120);
/**
 * Milliseconds from the start of the process to the first answer, while the load goes on; one start in a hundred may take
 * longer on a machine that does other things too, and none three times that.
 */
const startLimit = 1_000;
const scope = processScope();
const impossible = whyNoContainers();
let daemon: Berthd;
let registry: Registry;
let load: Load;

if (impossible === undefined) {
  beforeAll(async () => {
    daemon = new Berthd(join(scope.dir, "d"), `${scope.token}-crash`);
    await daemon.start();
    await daemon.importImage();
    registry = new Registry(join(scope.dir, "registry"));
  }, 60_000);
  afterAll(async () => {
    load?.close();
    registry?.stop();
    if (!daemon.running) await daemon.start();
    const { stdout } = await daemon.ctr(["containers", "ls", "-q"]);
    for (const id of stdout.split("\n").filter((one) => one !== "")) {
      await daemon.ctr(["tasks", "delete", "--force", id]);
      await daemon.ctr(["containers", "delete", id]);
    }
    await daemon.stop();
    const mine = new Set([...inventory(scope)].filter((item) => item.startsWith("descriptor")));
    // ctr that was cut off leaves its FIFOs.
    const look = (): Set<string> => new Set([...inventory(scope, daemon)].filter((item) => !item.includes("/fifo/")));
    // A shim whose daemon died before it wrote down where the shim is ends by itself after a minute (R06).
    await expectNoLeak(mine, look, 75_000);
  }, 200_000);
}

testUnless(
  impossible,
  `R02 R04 R06 SIGKILL to berthd at ${crashes} random moments under load (seed ${seed})`,
  async () => {
    const random = new Random(seed);
    const model = new Model();
    const missing = await registry.start();
    if (missing !== undefined) console.log(`no pulls in the load: ${missing}`);
    const host = missing === undefined ? registry.host : undefined;
    load = new Load({ daemon, model, random, workers: 4, tasks: true, registry: host });
    const exits = new Exits(daemon);
    exits.start();
    const starts: number[] = [];
    const wrong: string[] = [];
    for (let crash = 1; crash <= crashes && wrong.length === 0; crash++) {
      load.start();
      await Bun.sleep(random.between(20, 600));
      await daemon.kill();
      exits.killed();
      // Some time without it, so that containers end meanwhile.
      if (random.next() < 0.3) await Bun.sleep(random.between(0, 400));
      const begun = performance.now();
      await daemon.start();
      const client = load.reconnect();
      await firstAnswer(client);
      const ms = performance.now() - begun;
      starts.push(ms);
      // The load goes on for a moment against the new daemon.
      if (random.next() < 0.5) await Bun.sleep(random.between(0, 200));
      await load.stop();
      const found = await survey(daemon, client, load.archives, crash % 10 === 0);
      wrong.push(...found.wrong, ...broken(model.promises(), found.there));
      wrong.push(...(await endings(client, found.there)));
      if (crash % 5 === 0 || crash === crashes) wrong.push(...(await check(daemon, crash % 50 === 0)));
      if (ms > 3 * startLimit) wrong.push(`it took ${Math.round(ms)} ms to start`);
      model.settle(found.there);
      for (const line of wrong) console.error(`crash ${crash}: ${line}`);
      if (wrong.length > 0) console.error(`${daemon.log().slice(-8_000)}\n${await surroundings(wrong.join("\n"))}`);
      if (crash % 25 === 0) console.log(`${crash} crashes: ${model.done} calls done, ${model.failed} cut off`);
    }
    const last = await survey(daemon, load.client, load.archives, false);
    // A client that was cut off may have left one that is made and not started, or killed and not deleted.
    const having = (kind: string, status: string): string[] =>
      model.present(kind).filter((id) => last.there.get(`${kind}/${id}`) === status);
    wrong.push(...(await logsGrow(having("running", "2"))));
    const stopped = having("ending", "3");
    await waitFor("every exit to be told", () => stopped.every((id) => exits.count(id) > 0), { timeout: 20_000 }).catch(
      () => {},
    );
    const untold = stopped.filter((id) => exits.count(id) === 0);
    const ended = exits.ended();
    if (untold.length > 0) wrong.push(`exits that were never told: ${untold.join(" ")}`);
    const again = ended.filter((id) => exits.count(id) > 1).length;
    const twice = exits.repeated(300);
    if (twice.length > 0) wrong.push(`exits that were told twice: ${twice.join(", ")}`);
    await exits.stop();
    starts.sort((a, b) => a - b);
    const at = (part: number): number => Math.round(starts[Math.floor((starts.length - 1) * part)] ?? 0);
    const late = starts.filter((ms) => ms > startLimit).length;
    if (late > Math.ceil(starts.length / 100)) wrong.push(`${late} of ${starts.length} starts took over a second`);
    console.log(
      `${starts.length} crashes, ${model.done} calls done, ${model.failed} cut off; start to first answer: ` +
        `median ${at(0.5)} ms, 95 % ${at(0.95)} ms, longest ${at(1)} ms; ${ended.length} exits told, ` +
        `${again} of them again since the daemon died as it heard of them`,
    );
    expect(wrong).toEqual([]);
  },
  3_000_000,
);

/** What else there is to know of the containers that a complaint names. */
async function surroundings(complaint: string): Promise<string> {
  const ids = new Set(complaint.match(/\b(?:runs|ends\d+)-\d+\b/g) ?? []);
  const all = await daemon.ctr(["tasks", "ls"]);
  const lines = all.stdout.split("\n").filter((line) => [...ids].some((id) => line.startsWith(`${id} `)));
  const begun = [...ids].map((id) => `${id}: ${load.killed.has(id) ? "its end was begun" : "nobody ended it"}`);
  const files = await Promise.all([...ids].map(async (id) => (await run(["ls", "-la", daemon.bundle(id)])).stdout));
  const shims = findProcesses([...ids].map((id) => `-id ${id}`)).map((p) => p.argv.join(" ").trim());
  const keys = new Set(complaint.match(/\b(?:work|done)-\d+\b/g) ?? []);
  const snapshots = await Promise.all(
    [...keys].map(async (key) => {
      const { stdout, stderr } = await daemon.ctr(["snapshots", "--snapshotter", daemon.snapshotter, "info", key]);
      return `${key}: ${stdout}${stderr}${(await run(["find", daemon.root, "-name", key])).stdout}`;
    }),
  );
  const keep = process.env["BERTH_KEEP_DATABASE"];
  if (keep !== undefined) await run(["sh", "-c", `mkdir -p ${keep}; cp ${daemon.root}/berth.db* ${keep}/`]);
  return [...lines, ...begun, ...files, ...shims, ...snapshots].join("\n");
}

/** Waits for an answer; a call that is cut off says what the daemon had to say. */
async function firstAnswer(client: Load["client"]): Promise<void> {
  try {
    await within(client.call("containerd.services.version.v1.Version", "Version", {}));
  } catch (error) {
    await load.stop();
    throw new Error(`${(error as Error).message}; alive: ${daemon.running}\n${daemon.log().slice(-4_000)}`);
  }
}

/** Containers that have ended: Wait must answer the status that is in their name. */
async function endings(client: Load["client"], there: ReadonlyMap<string, string>): Promise<string[]> {
  const wrong: string[] = [];
  const where = { namespace: daemon.namespace };
  for (const [key, status] of there) {
    const wanted = /^ending\/(ends(\d+)-\d+)$/.exec(key);
    // 3: stopped
    if (wanted === null || status !== "3") continue;
    const request = { containerId: wanted[1] ?? "" };
    try {
      const { exitStatus } = await within(client.call(services.tasks, "Wait", request, where));
      const mayBe = exitStatus === 137 && load.killed.has(request.containerId);
      if (exitStatus !== Number(wanted[2]) && !mayBe) wrong.push(`${wanted[1]} ended with ${exitStatus}`);
    } catch (error) {
      wrong.push(`Wait for ${wanted[1]}: ${(error as Error).message}`);
    }
  }
  return wrong;
}

/** Containers that run write to their logs as before. */
async function logsGrow(ids: readonly string[]): Promise<string[]> {
  const sizes = (): Map<string, number> =>
    new Map(
      ids.map((id) => {
        try {
          return [id, readFileSync(join(daemon.dir, "files", `${id}.log`)).length];
        } catch {
          return [id, 0];
        }
      }),
    );
  const before = sizes();
  await Bun.sleep(1_000);
  return [...sizes()]
    .filter(([id, size]) => size <= (before.get(id) ?? 0))
    .map(([id]) => `the log of ${id} stands still`);
}

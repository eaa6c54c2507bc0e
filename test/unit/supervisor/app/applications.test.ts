/** The way from one revision to the next, on a machine of paper. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notFound, unavailable } from "../../../../proto/errdefs.ts";
import { Applications, isPassing } from "../../../../supervisor/app/applications.ts";
import { Engine, type Progress } from "../../../../supervisor/app/engine.ts";
import { appFamilies } from "../../../../supervisor/app/families.ts";
import type { Sign } from "../../../../supervisor/app/judge.ts";
import type { Machine, MachineContainer } from "../../../../supervisor/app/machine.ts";
import { Queue } from "../../../../supervisor/app/queue.ts";
import { type AppState, AppStore } from "../../../../supervisor/app/state.ts";
import { readVersion, type Version } from "../../../../supervisor/app/version.ts";
import type { RunOptions } from "../../../../supervisor/container/options.ts";
import { silent } from "../../../../supervisor/log/log.ts";
import { outcome, rejection } from "../../../lib/outcome.ts";
import { waitFor } from "../../../lib/wait.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(process.env["BERTH_TEST_RUN"] ?? tmpdir(), "apps-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Containers that start at once, and end at once when their command says so. */
class Paper implements Machine {
  readonly records = new Map<string, MachineContainer & { readonly command: string }>();
  /** What was done, in order. */
  readonly done: string[] = [];
  readonly digests = new Map<string, string>([["i", "sha256:1"]]);
  readonly events: string[] = [];
  kept: string[] = [];
  /** The step before which the power goes: then nothing more happens. */
  stopAt = "";
  isCut = false;
  readonly #listeners = new Set<(sign: Sign) => void>();

  #do(what: string): void {
    this.isCut ||= what === this.stopAt;
    if (this.isCut) throw new Error("the power is gone");
    this.done.push(what);
  }
  #sign(sign: Sign): void {
    for (const listener of this.#listeners) listener(sign);
  }
  async containers(_: string, app: string) {
    return [...this.records.values()].filter(({ labels }) => labels["berth/app"] === app);
  }
  async container(_: string, id: string) {
    return this.records.get(id);
  }
  async status(_: string, id: string) {
    const record = this.records.get(id);
    if (record === undefined) return { status: "missing" as const, health: "", exitStatus: undefined };
    if (record.command === "false") return { status: "exited" as const, health: "", exitStatus: 1 };
    return { status: "running" as const, health: "", exitStatus: undefined };
  }
  health() {
    return undefined;
  }
  trouble() {
    return undefined;
  }
  async ensureImage(_: string, { image }: Pick<RunOptions, "image">, digest: string | undefined) {
    const found = digest ?? this.digests.get(image);
    if (found === undefined) throw unavailable(`no way to ${image}`);
    return found;
  }
  async digest(_: string, image: string) {
    return this.digests.get(image);
  }
  async keepImages(_: string, images: readonly { image: string; digest: string }[]) {
    this.kept = images.map(({ image, digest }) => `${image}@${digest}`);
  }
  async networks() {
    return new Set(["app_default"]);
  }
  async networksOf() {
    return new Set<string>();
  }
  async createNetwork() {}
  async removeNetwork() {}
  async volumes() {
    return new Set<string>();
  }
  async removeVolume(_: string, name: string) {
    this.#do(`remove volume ${name}`);
  }
  async create(_: string, options: RunOptions) {
    const { name: id = "", app, command = [] } = options;
    this.#do(`create ${id} ${command.join(" ")}`);
    const labels = {
      "berth/app": app?.name ?? "",
      "berth/app.hash": app?.hash ?? "",
      "berth/app.revision": app?.revision ?? "",
      "containerd.io/restart.status": "running",
    };
    this.records.set(id, { id, image: options.image, labels, command: command.join(" ") });
    queueMicrotask(() => {
      this.#sign({ id, kind: "started" });
      if (command[0] === "false") this.#sign({ id, kind: "ended", status: 1 });
    });
    return [];
  }
  async update() {
    this.#do("update");
  }
  async start(_: string, id: string) {
    this.#do(`start ${id}`);
    queueMicrotask(() => this.#sign({ id, kind: "started" }));
  }
  async remove(_: string, id: string) {
    this.#do(`remove ${id}`);
    this.records.delete(id);
  }
  async *signs(_: string, signal: AbortSignal): AsyncGenerator<Sign> {
    const queue: Sign[] = [];
    let wake: (() => void) | undefined;
    const listener = (sign: Sign): void => {
      queue.push(sign);
      wake?.();
    };
    this.#listeners.add(listener);
    signal.addEventListener("abort", () => wake?.());
    while (!signal.aborted) {
      yield* queue.splice(0);
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (queue.length > 0 || signal.aborted) resolve();
      });
    }
    this.#listeners.delete(listener);
  }
  publish(_: string, { name, revision, what }: { name: string; revision: number; what: string }) {
    this.events.push(`${name} ${revision} ${what}`);
  }
}

/** Writes nothing once the power is gone. */
class DyingStore extends AppStore {
  readonly #machine: Paper;

  constructor(machine: Paper) {
    super(join(directory, "apps"));
    this.#machine = machine;
  }

  override write(state: AppState): void {
    if (this.#machine.isCut) throw new Error("the power is gone");
    super.write(state);
  }
}

function open(
  machine: Machine,
  store: AppStore = new AppStore(join(directory, "apps")),
): { applications: Applications; store: AppStore } {
  const engine = new Engine(machine, store, { stableMs: 20, startMs: 2000, marginMs: 2000, completionMs: 2000 });
  return { applications: new Applications({ machine, store, engine, log: silent }), store };
}

function read(text: string): Version {
  return readVersion(text, { file: "/d/app.yaml", directory: "/d", environment: () => undefined });
}

function version(command: string): Version {
  return read(`services: {a: {image: i, command: [${command}]}, b: {image: i}}`);
}

describe("applications", () => {
  test("a version, the same once more, another, and back by hand", async () => {
    const machine = new Paper();
    const { applications, store } = open(machine);
    await applications.apply("n", version("x"), undefined);
    expect(machine.done.splice(0)).toEqual(["create app-a-1 x", "create app-b-1 "]);
    await applications.apply("n", version("x"), undefined);
    expect(machine.done).toEqual([]);
    const state = await applications.apply("n", version("y"), undefined);
    expect(machine.done.splice(0)).toEqual(["remove app-a-1", "create app-a-1 y"]);
    expect(state).toMatchObject({ current: 2, good: 2, previous: 1, result: "applied" });
    expect(state.target).toBeUndefined();
    const back = await applications.rollback("app", 0);
    expect(back).toMatchObject({ current: 1, good: 1, result: "rolled-back", reason: "by hand, from revision 2" });
    expect(store.revisions("app")).toEqual([1, 2]);
    expect(await rejection(applications.rollback("app", 7))).toMatchObject({
      message: "application app has no revision 7: 1, 2 are kept",
    });
    expect(applications.counts).toEqual({ applied: 3, failed: 0, rolledBack: 1 });
  });

  test("an image with another digest is another revision, and the one before is kept", async () => {
    const machine = new Paper();
    const { applications } = open(machine);
    await applications.apply("n", version("x"), undefined);
    machine.digests.set("i", "sha256:2");
    expect(await applications.apply("n", version("x"), undefined)).toMatchObject({ current: 2 });
    expect(machine.kept.toSorted()).toEqual(["i@sha256:1", "i@sha256:2"]);
  });

  test("without its images nothing is touched", async () => {
    const machine = new Paper();
    const { applications } = open(machine);
    await applications.apply("n", version("x"), undefined);
    machine.done.splice(0);
    const error = await rejection(applications.apply("n", read("services: {a: {image: gone}}"), undefined));
    expect(error).toMatchObject({ message: "image gone of service a: no way to gone" });
    expect(isPassing(error)).toBe(true);
    expect(machine.done).toEqual([]);
    expect(applications.state("app")).toMatchObject({ current: 1, result: "applied" });
  });

  test("what is not well goes back by itself, and is known as bad", async () => {
    const machine = new Paper();
    const { applications } = open(machine);
    await applications.apply("n", version("x"), "/d/app.yaml");
    machine.done.splice(0);
    const told: string[] = [];
    const tell = ({ step, message = "" }: Progress): void => void told.push(`${step} ${message}`.trim());
    const bad = version("'false'");
    const error = await rejection(applications.apply("n", bad, "/d/app.yaml", { tell }));
    const reason = "revision 2: app-a-1 ended with status 1";
    expect(error).toMatchObject({ message: `application app is back at revision 1: ${reason}` });
    expect(isPassing(error)).toBe(false);
    expect(machine.done).toEqual(["remove app-a-1", "create app-a-1 false", "remove app-a-1", "create app-a-1 x"]);
    const state = applications.state("app");
    expect(state).toMatchObject({ current: 1, good: 1, result: "rolled-back", reason, seen: bad.source });
    expect(state.bad).toEqual([{ revision: 2, source: bad.source, reason: "app-a-1 ended with status 1" }]);
    expect(told).toContain("rollback to revision 1");
    expect(machine.events).toEqual([
      "app 1 applying",
      "app 1 applied",
      "app 2 applying",
      "app 2 failed",
      "app 1 applying",
      "app 1 rolled-back",
    ]);
  });

  test("the first version has nothing to go back to, nor one that is to stay", async () => {
    const machine = new Paper();
    const { applications } = open(machine);
    expect(await rejection(applications.apply("n", version("'false'"), undefined))).toMatchObject({
      message: "application app is not well: revision 1: app-a-1 ended with status 1",
    });
    expect(applications.state("app")).toMatchObject({ current: 1, result: "failed" });
    expect(applications.state("app").good).toBeUndefined();
    await applications.apply("n", version("x"), undefined);
    await rejection(applications.apply("n", version("'false', again"), undefined, { noRollback: true }));
    expect(applications.state("app")).toMatchObject({ current: 3, good: 2, result: "failed" });
    expect(await applications.rollback("app", 0)).toMatchObject({ current: 2, good: 2 });
  });

  for (const stopAt of ["remove app-a-1", "create app-a-1 y", "create app-b-1 "]) {
    test(`a power cut before "${stopAt}" is finished by the next daemon`, async () => {
      const machine = new Paper();
      await open(machine).applications.apply("n", version("x"), undefined);
      const both = read("services: {a: {image: i, command: [y]}, b: {image: i, user: u}}");
      machine.stopAt = stopAt;
      const dying = open(machine, new DyingStore(machine)).applications;
      expect(await rejection(dying.apply("n", both, undefined))).toBeInstanceOf(Error);
      machine.stopAt = "";
      machine.isCut = false;
      const next = open(machine);
      expect(next.applications.state("app")).toMatchObject({ current: 1, target: 2, purpose: "apply" });
      next.applications.resume();
      await waitFor("the end of it", () => !next.applications.isBusy("app"));
      expect(next.applications.state("app")).toMatchObject({ current: 2, good: 2, result: "applied" });
      expect(next.applications.state("app").target).toBeUndefined();
      expect([...machine.records.values()].map(({ command }) => command).toSorted()).toEqual(["", "y"]);
    });
  }

  test("what was made before a power cut is looked at after it", async () => {
    const machine = new Paper();
    await open(machine).applications.apply("n", version("x"), undefined);
    machine.stopAt = "create app-b-1 ";
    const both = read("services: {a: {image: i, command: ['false']}, b: {image: i, user: u}}");
    await rejection(open(machine, new DyingStore(machine)).applications.apply("n", both, undefined));
    machine.stopAt = "";
    machine.isCut = false;
    const { applications } = open(machine);
    applications.resume();
    await waitFor("the end of it", () => !applications.isBusy("app"));
    const reason = "revision 2: app-a-1 ended with status 1";
    expect(applications.state("app")).toMatchObject({ current: 1, good: 1, result: "rolled-back", reason });
    expect([...machine.records.values()].map(({ command }) => command).toSorted()).toEqual(["", "x"]);
  });

  test("removal, with volumes and without, finished after a power cut", async () => {
    const machine = new Paper();
    const { applications } = open(machine);
    const text = "services: {a: {image: i, volumes: ['data:/d', '/own']}}\nvolumes: {data: }";
    const own = read(text);
    await applications.apply("n", own, undefined);
    machine.done.splice(0);
    machine.stopAt = "remove app-a-1";
    await rejection(applications.remove("app", true));
    expect(applications.state("app").purpose).toBe("remove");
    machine.stopAt = "";
    machine.isCut = false;
    const next = open(machine).applications;
    next.resume();
    await waitFor("the end of it", () => next.states.length === 0);
    expect(machine.done[0]).toBe("remove app-a-1");
    expect(machine.done.slice(1).toSorted()).toEqual(
      [
        expect.stringMatching(/^remove volume app_a_[0-9a-f]{12}$/) as unknown as string,
        "remove volume app_data",
      ].toSorted(),
    );
    expect(readdirSync(join(directory, "apps"))).toEqual([]);
    expect(await outcome(next.remove("app", false))).toThrow("there is no application");
  });

  test("whose it is", async () => {
    const { applications } = open(new Paper());
    await applications.apply("n", version("x"), "/d/app.yaml");
    expect(await rejection(applications.apply("m", version("x"), "/d/app.yaml"))).toMatchObject({
      message: "application app is in namespace n: give this one another name",
    });
    expect(await rejection(applications.apply("n", version("x"), undefined))).toMatchObject({
      message: "application app is what /d/app.yaml says: change that file, or give this one another name",
    });
    applications.adopt("app", "/d/other.yaml");
    await applications.apply("n", version("x"), "/d/other.yaml");
  });
});

describe("what is kept", () => {
  test("old revisions and what no container is made from go; what is in use stays", async () => {
    const machine = new Paper();
    const { applications, store } = open(machine);
    for (let n = 0; n < 14; n++) await applications.apply("n", version(`v${n}`), undefined);
    expect(store.revisions("app")).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    expect(readdirSync(join(directory, "apps/app/made")).length).toBe(2);
  });

  test("files that are torn, and directories that are nobody's", async () => {
    const machine = new Paper();
    await open(machine).applications.apply("n", version("x"), undefined);
    const root = join(directory, "apps");
    mkdirSync(join(root, "torn"));
    writeFileSync(join(root, "torn/state.json"), "{");
    mkdirSync(join(root, "half"));
    const problems: string[] = [];
    expect(new AppStore(root).all((what) => problems.push(what)).map(({ name }) => name)).toEqual(["app"]);
    expect(problems.length).toBe(1);
    expect(existsSync(join(root, "half"))).toBe(false);
    for (const file of readdirSync(join(root, "app/made"))) writeFileSync(join(root, "app/made", file), "{");
    const hash = machine.records.get("app-a-1")?.labels["berth/app.hash"] ?? "";
    expect(new AppStore(root).made("app", hash)).toBeUndefined();
    expect(new AppStore(root).made("app", "../../x")).toBeUndefined();
  });
});

test("Queue: one at a time for a name, several names at once, a bound", async () => {
  const queue = new Queue();
  const order: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const first = queue.run("a", async () => {
    await promise;
    order.push("a1");
  });
  const second = queue.run("a", async () => void order.push("a2"));
  await queue.run("b", async () => void order.push("b"));
  expect(queue.isBusy("a")).toBe(true);
  expect(queue.isBusy("b")).toBe(false);
  const more = Array.from({ length: 6 }, () => queue.run("a", async () => {}));
  expect(await outcome(queue.run("a", async () => {}))).toThrow("try again later");
  resolve();
  await Promise.all([first, second, ...more]);
  expect(order).toEqual(["b", "a1", "a2"]);
  expect(queue.isBusy("a")).toBe(false);
  expect(await outcome(queue.run("a", async () => Promise.reject(notFound("x"))))).toThrow("x");
});

test("families: states, revisions, and counts", () => {
  const families = appFamilies(
    [
      { name: "a", state: "running", revision: 3, appliedAt: { seconds: 5 } },
      { name: "b", state: "invalid" },
    ],
    { applied: 1, failed: 2, rolledBack: 3 },
  );
  const value = (name: string, label?: string): number | undefined =>
    families
      .find((family) => family.name === name)
      ?.samples.find(({ labels }) => label === undefined || Object.values(labels).includes(label))?.value;
  expect(value("berth_applications", "running")).toBe(1);
  expect(value("berth_applications", "invalid")).toBe(1);
  expect(value("berth_applications", "failed")).toBe(0);
  expect(value("berth_application_revision", "a")).toBe(3);
  expect(value("berth_application_ok", "b")).toBe(0);
  expect(value("berth_application_applied_timestamp_seconds", "a")).toBe(5);
  expect(value("berth_application_rollbacks_total")).toBe(3);
});

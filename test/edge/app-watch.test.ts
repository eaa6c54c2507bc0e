/** Applications as files of a watched directory, and a berthd that is killed in the midst of a change. */

import { expect } from "bun:test";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { appIs, appsDirectory, berth, makeAppsDaemon, pidOf, shimsOf, showApp } from "../lib/apps.ts";
import type { Daemon } from "../lib/daemon.ts";
import { imageName } from "../lib/image.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite({}, makeAppsDaemon);
const LONG = { timeout: 120_000 };

const sleeper = `image: ${imageName}, command: [sleep, "1000"], network_mode: none, stop_grace_period: 100ms`;

/** Puts a file into the directory as an editor does: beside it, then in its place. */
function put(daemon: Daemon, name: string, text: string): string {
  const path = join(appsDirectory(daemon), name);
  writeFileSync(`${path}.tmp~`, text);
  renameSync(`${path}.tmp~`, path);
  return path;
}

const isGone = (daemon: Daemon, app: string) =>
  waitFor(
    `${app} to be gone`,
    async () => {
      const { stdout } = await daemon.ctr(["containers", "ls", "-q"], { check: true });
      return !stdout.includes(`${app}-`) && (await showApp(daemon, app)) === undefined;
    },
    { timeout: 60_000, interval: 100 },
  );

suite.test(
  "R30: a file that comes, changes, is wrong, is bad, and goes",
  async ({ daemon }) => {
    writeFileSync(join(appsDirectory(daemon), ".env"), "V=one\n");
    writeFileSync(join(appsDirectory(daemon), "more.env"), "MORE=1\n");
    const text = (more: string) => `name: web
services:
  a: {${sleeper}, environment: {V: $V}, env_file: more.env, ${more}}
  b: {${sleeper}}
`;
    const file = put(daemon, "shop.yaml", text("restart: always"));
    const first = await appIs(daemon, "web", ({ State }) => State === "running");
    expect(first).toMatchObject({ Revision: 1, File: file, Error: "" });
    const [a, b] = [await pidOf(daemon, "web-a-1"), await pidOf(daemon, "web-b-1")];

    // Wrong: what runs goes on, and each problem has its line.
    put(daemon, "shop.yaml", text("restart: allways, prots: []"));
    const wrong = await appIs(daemon, "web", ({ State }) => State === "invalid");
    expect(wrong.Error).toContain(`${file}:3:`);
    expect(wrong.Error).toContain("services.a.prots: unknown key: did you mean ports?");
    expect(wrong.Error).toContain("services.a.restart: expected");
    expect([await pidOf(daemon, "web-a-1"), await pidOf(daemon, "web-b-1")]).toEqual([a, b]);

    // A variable of a file beside it: one container is made anew.
    put(daemon, "shop.yaml", text("restart: always"));
    await appIs(daemon, "web", ({ State }) => State === "running");
    put(daemon, "more.env", "MORE=2\n");
    await appIs(daemon, "web", ({ State, Revision }) => State === "running" && Revision === 2);
    expect(await pidOf(daemon, "web-b-1")).toBe(b);
    expect((await daemon.exec("web-a-1", ["sh", "-c", "echo $V $MORE"])).stdout).toBe("one 2\n");

    // Bad: it ends again and again. The last good one comes back, the file stays as it is and is not tried again.
    const bad = text("restart: always").replace('command: [sleep, "1000"], ', 'command: ["false"], ');
    put(daemon, "shop.yaml", bad);
    const back = await appIs(daemon, "web", ({ State }) => State === "rolled-back");
    expect(back).toMatchObject({ Revision: 2, GoodRevision: 2 });
    expect(back.Error).toMatch(/^revision 3: web-a-1 ended .*with status 1/);
    const again = await pidOf(daemon, "web-a-1");
    put(daemon, "shop.yaml", bad);
    await daemon.restart();
    expect(await pidOf(daemon, "web-a-1")).toBe(again);
    expect(await showApp(daemon, "web")).toMatchObject({ State: "rolled-back", Revision: 2 });
    const list = await berth(daemon, ["apps"], { check: true });
    expect(list.stdout).toMatch(/web +rolled-back +2\/2 /);

    // It is the file's, and nobody else's.
    const other = join(daemon.dir, "other.yaml");
    writeFileSync(other, `name: web\nservices: {s: {${sleeper}}}\n`);
    expect((await berth(daemon, ["apply", other])).stderr).toContain(`application web is what ${file} says`);
    expect((await berth(daemon, ["apps", "rm", "web"])).stderr).toContain("take that file away");

    // The file has another name, and then none.
    const renamed = join(appsDirectory(daemon), "renamed.yml");
    renameSync(file, renamed);
    await appIs(daemon, "web", ({ File }) => File === renamed);
    expect(await pidOf(daemon, "web-a-1")).toBe(again);
    rmSync(renamed);
    await isGone(daemon, "web");
  },
  LONG,
);

suite.test(
  "R30: a berthd that is killed in the midst of a change finishes it, or takes it back, when it is there again",
  async ({ daemon }) => {
    const text = (value: string, check: string) => `services:
  a:
    ${sleeper.replaceAll(/, (?=[a-z_]+:)/g, "\n    ")}
    environment: {V: "${value}"}
    healthcheck: {test: "${check}", interval: 200ms, retries: 2, start_period: 1s, start_interval: 200ms}
  b: {${sleeper}, environment: {V: "${value}"}, depends_on: [a]}
  c: {${sleeper}, environment: {V: "${value}"}, depends_on: {b: {condition: service_started}}}
`;
    const variableOf = async (id: string): Promise<string> =>
      (await daemon.exec(id, ["sh", "-c", "echo $V"])).stdout.trim();
    put(daemon, "cut.yaml", text("1", "true"));
    await appIs(daemon, "cut", ({ State }) => State === "running");

    // The first container is new already, the others are not.
    const old = await pidOf(daemon, "cut-a-1");
    put(daemon, "cut.yaml", text("2", "sleep 0.5"));
    await waitFor("the first container to go", async () => (await pidOf(daemon, "cut-a-1")) !== old, {
      timeout: 30_000,
    });
    await daemon.kill();
    await daemon.start();
    const finished = await appIs(daemon, "cut", ({ State, Revision }) => State === "running" && Revision === 2);
    expect(finished.Containers.map(({ Status }) => Status)).toEqual(["running", "running", "running"]);
    expect(await Promise.all(["cut-a-1", "cut-b-1", "cut-c-1"].map(variableOf))).toEqual(["2", "2", "2"]);

    // The same with a version that is not well: it is taken back.
    const good = await pidOf(daemon, "cut-a-1");
    put(daemon, "cut.yaml", text("3", "false"));
    await waitFor("the first container to go", async () => (await pidOf(daemon, "cut-a-1")) !== good, {
      timeout: 30_000,
    });
    await daemon.kill();
    await daemon.start();
    const back = await appIs(daemon, "cut", ({ State }) => State === "rolled-back");
    expect(back.Revision).toBe(2);
    expect(await Promise.all(["cut-a-1", "cut-b-1", "cut-c-1"].map(variableOf))).toEqual(["2", "2", "2"]);

    // What goes while nobody looks is removed when somebody does.
    await daemon.kill();
    rmSync(join(appsDirectory(daemon), "cut.yaml"));
    await daemon.start();
    await isGone(daemon, "cut");
  },
  LONG,
);

suite.test(
  "R30: what was switched off comes back, jobs that have ended do not, and an image that comes late is waited for",
  async ({ daemon }) => {
    mkdirSync(join(daemon.dir, "marks"), { recursive: true });
    const marks = join(daemon.dir, "marks");
    put(
      daemon,
      "boot.yaml",
      `services:
  job: {image: ${imageName}, command: sh -c 'echo ran >> /marks/job', network_mode: none, volumes: ["${marks}:/marks"]}
  plain: {${sleeper}, depends_on: {job: {condition: service_completed_successfully}}}
`,
    );
    await appIs(daemon, "boot", ({ State }) => State === "running");
    const pid = await pidOf(daemon, "boot-plain-1");
    // The power goes: the daemon first, then the container with its shim.
    await daemon.kill();
    for (const victim of [...shimsOf(daemon, "boot-plain-1"), pid]) process.kill(victim, "SIGKILL");
    await daemon.start();
    await waitFor("the container to be back", async () => ![0, pid].includes(await pidOf(daemon, "boot-plain-1")), {
      timeout: 30_000,
    });
    expect(await Bun.file(join(marks, "job")).text()).toBe("ran\n");
    rmSync(join(appsDirectory(daemon), "boot.yaml"));
    await isGone(daemon, "boot");

    const later = "localhost/later:1";
    put(daemon, "late.yaml", `services: {s: {${sleeper.replace(imageName, later)}}}`);
    const waits = await appIs(daemon, "late", ({ State }) => State === "waiting");
    expect(waits.Error).toContain(`image ${later} of service s: `);
    await daemon.ctr(["images", "tag", imageName, later], { check: true });
    await appIs(daemon, "late", ({ State }) => State === "running");
    rmSync(join(appsDirectory(daemon), "late.yaml"));
    await isGone(daemon, "late");
    await daemon.ctr(["images", "rm", later], { check: true });
  },
  LONG,
);

/** Applications by `berth apply`: the smallest change, and the way back. */

import { expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { berth, makeAppsDaemon, pidOf, showApp } from "../lib/apps.ts";
import type { Daemon } from "../lib/daemon.ts";
import { imageName } from "../lib/image.ts";
import { containerSuite } from "../lib/suite.ts";

const suite = containerSuite({}, makeAppsDaemon);
const LONG = { timeout: 90_000 };

/** Writes a file of its own directory. @returns its path */
function write(daemon: Daemon, name: string, text: string): string {
  const directory = join(daemon.dir, "files");
  mkdirSync(directory, { recursive: true });
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

const sleeper = `image: ${imageName}, command: [sleep, "1000"], network_mode: none, stop_grace_period: 1s`;

suite.test(
  "apply, diff, one change, what has gone, and remove",
  async ({ daemon }) => {
    const file = write(
      daemon,
      "one.yaml",
      `services:
  a: {${sleeper}, environment: {V: "1"}, volumes: ["data:/data"]}
  b: {${sleeper}, depends_on: [a]}
volumes: {data: }
`,
    );
    const before = await berth(daemon, ["diff", file]);
    expect([before.exitCode, before.stderr]).toEqual([1, ""]);
    expect(before.stdout).toContain("+ container one-a-1\n  + container one-b-1");
    const applied = await berth(daemon, ["apply", file]);
    expect(applied.stderr).toContain("creating one-a-1");
    expect(applied).toMatchObject({ exitCode: 0, stdout: "one: revision 1, running, 2 of 2 containers run\n" });
    expect(await berth(daemon, ["diff", file])).toMatchObject({ exitCode: 0 });
    const [a, b] = [await pidOf(daemon, "one-a-1"), await pidOf(daemon, "one-b-1")];
    await berth(daemon, ["apply", file], { check: true });
    expect([await pidOf(daemon, "one-a-1"), await pidOf(daemon, "one-b-1")]).toEqual([a, b]);
    await daemon.exec("one-a-1", ["sh", "-c", "echo kept > /data/file"], [], { check: true });

    // One variable of one service: the other one does not notice, and what is in the volume stays.
    write(
      daemon,
      "one.yaml",
      `services:
  a: {${sleeper}, environment: {V: "2"}, volumes: ["data:/data"]}
  b: {${sleeper}, depends_on: [a]}
volumes: {data: }
`,
    );
    const diff = await berth(daemon, ["diff", file, "--format", "json"]);
    expect(diff.exitCode).toBe(1);
    expect(JSON.parse(diff.stdout)).toEqual({
      name: "one",
      changes: [
        {
          ...{ kind: "container", id: "one-a-1", action: "recreate", service: "a" },
          keys: [{ key: "env.V", before: "1", after: "2" }],
        },
        { kind: "container", id: "one-b-1", action: "keep", service: "b" },
      ],
      warnings: [],
    });
    await berth(daemon, ["apply", file], { check: true });
    expect(await pidOf(daemon, "one-a-1")).not.toBe(a);
    expect(await pidOf(daemon, "one-b-1")).toBe(b);
    const { stdout } = await daemon.exec("one-a-1", ["sh", "-c", "echo $V; cat /data/file"], [], { check: true });
    expect(stdout).toBe("2\nkept\n");

    // What a container that runs can take over; and a service that is no more.
    write(
      daemon,
      "one.yaml",
      `services:
  a: {${sleeper}, environment: {V: "2"}, volumes: ["data:/data"], restart: always, mem_limit: 64m, labels: {x: y}}
volumes: {data: }
`,
    );
    const second = await pidOf(daemon, "one-a-1");
    const changed = await berth(daemon, ["apply", file]);
    expect(changed.stderr).toContain("updating one-a-1 (labels.x, memory, restart)");
    expect(changed.stderr).toContain("removing one-b-1");
    expect(await pidOf(daemon, "one-a-1")).toBe(second);
    expect(await pidOf(daemon, "one-b-1")).toBe(0);
    const limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true";
    expect((await daemon.exec("one-a-1", ["sh", "-c", limit])).exitCode).toBe(0);
    expect((await showApp(daemon, "one"))?.Revision).toBe(3);

    // Back, by hand: the one before, then one by its number.
    const back = await berth(daemon, ["rollback", "one"]);
    expect(back.stdout).toContain("one: revision 2, rolled-back, 2 of 2 containers run");
    await berth(daemon, ["rollback", "one", "1"], { check: true });
    expect((await daemon.exec("one-a-1", ["sh", "-c", "echo $V"])).stdout).toBe("1\n");
    expect(await berth(daemon, ["rollback", "one", "9"])).toMatchObject({
      exitCode: 1,
      stderr: "berth rollback: application one has no revision 9: 1, 2, 3 are kept\n",
    });

    const list = await berth(daemon, ["apps"], { check: true });
    expect(list.stdout).toMatch(/one +rolled-back +2\/2 +1 /);
    await berth(daemon, ["apps", "rm", "one", "--volumes"], { check: true });
    expect((await daemon.ctr(["containers", "ls", "-q"])).stdout).toBe("");
    expect((await berth(daemon, ["apps", "-q"])).stdout).toBe("");
  },
  LONG,
);

suite.test(
  "a version that does not become healthy goes back by itself, and everything is said at once about a wrong file",
  async ({ daemon }) => {
    const text = (check: string) => `services:
  web:
    ${sleeper.replaceAll(/, (?=[a-z_]+:)/g, "\n    ")}
    healthcheck: {test: "${check}", interval: 300ms, retries: 2}
  job: {image: ${imageName}, command: "true", network_mode: none}
  late: {${sleeper}, depends_on: {web: {condition: service_healthy}, job: {condition: service_completed_successfully}}}
`;
    const file = write(daemon, "two.yaml", text("true"));
    const first = await berth(daemon, ["apply", file]);
    expect(first).toMatchObject({ exitCode: 0, stdout: "two: revision 1, running, 2 of 3 containers run\n" });
    const late = await pidOf(daemon, "two-late-1");
    write(daemon, "two.yaml", text("false"));
    const bad = await berth(daemon, ["apply", file]);
    expect(bad.exitCode).toBe(1);
    expect(bad.stderr).toContain(
      "berth apply: application two is back at revision 1: revision 2: two-web-1 is unhealthy",
    );
    const app = await showApp(daemon, "two");
    expect(app).toMatchObject({
      State: "rolled-back",
      Revision: 1,
      GoodRevision: 1,
      Error: "revision 2: two-web-1 is unhealthy",
    });
    expect(app?.Revisions).toMatchObject([
      { Number: 2, State: "bad", Reason: "two-web-1 is unhealthy" },
      { Number: 1, State: "current" },
    ]);
    expect(app?.Containers.find(({ Service }) => Service === "web")).toMatchObject({
      Status: "running",
      Health: "healthy",
    });
    expect(await pidOf(daemon, "two-late-1")).toBe(late);

    // A command that is not there: the monitor's words are told.
    write(daemon, "two.yaml", text("true").replace("command: [sleep", "command: [no-such-program"));
    const broken = await berth(daemon, ["apply", file]);
    expect(broken.stderr).toMatch(/two-web-1 cannot be started: .*no-such-program/);
    expect((await showApp(daemon, "two"))?.Revision).toBe(1);

    write(daemon, "two.yaml", "services:\n  web:\n    imag: x\n    ports: [80]\n");
    const wrong = await berth(daemon, ["apply", file]);
    expect(wrong.exitCode).toBe(1);
    expect(wrong.stderr).toContain(`${file}:3:5: services.web.imag: unknown key: did you mean image?`);
    expect(wrong.stderr).toContain(`${file}:4:13: services.web.ports[0]: no port of the host`);
    expect(await berth(daemon, ["diff", file])).toMatchObject({ exitCode: 2 });
    await berth(daemon, ["apps", "rm", "two"], { check: true });
  },
  LONG,
);

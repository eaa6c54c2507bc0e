/** Nothing left behind, over many cycles (contract 1.8, PR-1). */

import { existsSync, readFileSync, rmSync } from "node:fs";
import { equal, holds } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import { processLine } from "../rig/left.ts";
import { childrenOf, descriptorsOf, findCgroups, findMounts, findProcesses } from "../rig/machine.ts";
import { until } from "../rig/wait.ts";

const pod = "io.kubernetes.cri.sandbox-id";

/** What a check has on the machine, but for its bundles' files. */
function inventory(t: Context): string[] {
  return [
    ...findProcesses(t.token).map(processLine),
    ...findMounts(t.token).map((path) => `mount ${path}`),
    ...findCgroups(t.token)
      .filter((path) => /\/c\d+$/.test(path))
      .map((path) => `cgroup ${path}`),
  ];
}

/** Waits until nothing is left of what the check has made, but for some processes with their mounts and cgroups. */
async function nothingBut(t: Context, pids: readonly number[]): Promise<void> {
  const kept = pids.length > 0 ? "c1" : "";
  const left = (): string[] =>
    inventory(t).filter(
      (line) =>
        !pids.some((pid) => line.startsWith(`process ${pid} `)) && !(kept && new RegExp(`/${kept}(/|$)`).test(line)),
    );
  await until("nothing to be left", () => left().length === 0, { timeout: 3000, received: () => left().join("; ") });
}

/** A runtime that collects garbage may take a moment, or a few descriptors, more. */
async function descriptorsBack(pid: number, before: number): Promise<void> {
  await until("no more descriptors than before, give or take 5", () => descriptorsOf(pid).length <= before + 5, {
    timeout: 5000,
    received: () => `${descriptorsOf(pid).length} after ${before}: ${descriptorsOf(pid).join(" ")}`,
  });
}

function pidsOf(parent: number): number[] {
  return childrenOf(parent).map(({ pid }) => pid);
}

/** One exec from end to end. */
async function execCycle(t: Context, shim: Shim, id: string): Promise<void> {
  const [stdout, stderr] = [t.reader("out"), t.reader("err")];
  await shim.exec(id, ["echo", "x"], { stdout: stdout.path, stderr: stderr.path });
  await shim.task.wait(shim.id, id);
  // As a client does: read while Delete waits for the output to be taken.
  const deleted = shim.task.delete(shim.id, id);
  equal("stdout", await stdout.end(), "x\n");
  await deleted;
  for (const reader of [stdout, stderr]) {
    reader.close();
    rmSync(reader.path);
  }
}

/** Memory of a process that is its own alone, in kB. */
function ownMemory(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Private_Dirty:\s*(\d+)/m.exec(text)?.[1]);
}

/** Files that the check's shims listen at. */
function socketsOf(t: Context): string[] {
  return t.places().filter((path) => path.startsWith("/run/containerd/s/") && existsSync(path));
}

export const leaks: Section = {
  name: "leaks",
  checks: [
    {
      id: "LK-1.containers",
      level: "must",
      title: "Ten containers that came and went, each with its shim, leave no process, zombie, mount or cgroup.",
      source: "docs/runtime-v2.md (delete)",
      body: async (t) => {
        for (let n = 0; n < 10; n++) {
          const shim = await t.run({ args: ["true"] });
          await shim.task.wait(shim.id);
          await shim.finish();
          await t.delete(shim.bundle);
        }
        await nothingBut(t, []);
      },
    },
    {
      id: "LK-1.cycles",
      level: "must",
      title:
        "Two hundred containers that came and went in one shim leave no process, zombie, mount, cgroup, socket or descriptor.",
      source: "docs/runtime-v2.md (delete)",
      limit: 240_000,
      body: async (t) => {
        const shim = await t.run({ annotations: { [pod]: "pod" } });
        const cycle = async (): Promise<void> => {
          const other = await t.start(t.bundle({ annotations: { [pod]: "pod" }, args: ["true"] }));
          if (other.pid !== shim.pid) t.skip("the shim does not group");
          await other.create();
          await other.task.start(other.id);
          await other.task.wait(other.id);
          await other.task.delete(other.id);
          other.task.connection.close();
          await t.delete(other.bundle);
          t.forget(other.bundle);
        };
        for (let n = 0; n < 10; n++) await cycle();
        const before = descriptorsOf(shim.pid).length;
        const sockets = (): number => socketsOf(t).length;
        const had = sockets();
        for (let n = 0; n < 200; n++) await cycle();
        await descriptorsBack(shim.pid, before);
        equal("the sockets that are left", sockets(), had);
        const init = (await shim.task.state(shim.id)).pid;
        equal("the children of the shim", pidsOf(shim.pid), [init]);
        await nothingBut(t, [shim.pid, init]);
      },
    },
    {
      id: "LK-1.execs",
      level: "must",
      title: "Two hundred execs leave no descriptor and no child in the shim.",
      source: "cmd/containerd-shim-runc-v2/process/io_test.go",
      limit: 120_000,
      alone: true,
      body: async (t) => {
        const shim = await t.run();
        for (let n = 0; n < 10; n++) await execCycle(t, shim, `w${n}`);
        const before = descriptorsOf(shim.pid).length;
        const children = pidsOf(shim.pid);
        for (let n = 0; n < 200; n++) await execCycle(t, shim, `e${n}`);
        await descriptorsBack(shim.pid, before);
        equal("the children of the shim", pidsOf(shim.pid), children);
      },
    },
    {
      id: "LK-1.memory",
      level: "must",
      title: "Two hundred execs, after a hundred to warm up, leave the shim's memory within 8 MiB of what it was.",
      source: "containerd#10387",
      limit: 180_000,
      body: async (t) => {
        const shim = await t.run();
        const cycles = async (from: number, to: number): Promise<void> => {
          for (let n = from; n < to; n++) await execCycle(t, shim, `e${n}`);
        };
        await cycles(0, 100);
        const before = ownMemory(shim.pid);
        await cycles(100, 300);
        const grown = ownMemory(shim.pid) - before;
        holds("at most 8192 kB more", grown <= 8192, `${before} kB, then ${grown} kB more`);
      },
    },
    {
      id: "LK-1.connections",
      level: "must",
      title: "Two hundred connections that came and went leave no descriptor in the shim.",
      source: "ttrpc/server.go",
      body: async (t) => {
        const shim = await t.run();
        // Each makes a call, so that the shim has surely taken it.
        const one = async (): Promise<void> => {
          (await t.connect(shim.bundle, shim.found)).task.connection.close();
        };
        for (let n = 0; n < 10; n++) await one();
        const before = descriptorsOf(shim.pid).length;
        for (let n = 0; n < 200; n++) await one();
        await descriptorsBack(shim.pid, before);
      },
    },
    {
      id: "LK-1.failed-creates",
      level: "must",
      title: "Sixty Creates that fail leave fewer than sixty descriptors, and no process or mount.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (Create)",
      limit: 60_000,
      body: async (t) => {
        const shim = await t.start(t.bundle({ args: [] }));
        const stdout = t.reader("out");
        const attempt = async (): Promise<void> => {
          const outcome = await shim.create(t.outputs(stdout)).catch(() => undefined);
          holds("Create to fail", outcome === undefined, "an answer");
        };
        for (let n = 0; n < 3; n++) await attempt();
        const before = descriptorsOf(shim.pid).length;
        for (let n = 0; n < 60; n++) await attempt();
        // Go closes some of them only when it collects garbage; one for each attempt would be a leak.
        const now = (): number => descriptorsOf(shim.pid).length;
        await until("fewer than sixty more descriptors than before", () => now() < before + 60, {
          timeout: 3000,
          received: () => `${now()} after ${before}: ${descriptorsOf(shim.pid).join(" ")}`,
        });
        equal("mounts", findMounts(shim.bundle.path), []);
        equal("children of the shim", childrenOf(shim.pid), []);
      },
    },
  ],
};

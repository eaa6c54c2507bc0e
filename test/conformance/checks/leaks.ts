/** Nothing left behind, over many cycles (contract 1.8, PR-1). */

import { equal, holds } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context } from "../rig/context.ts";
import { childrenOf, descriptorsOf, findCgroups, findMounts, findProcesses } from "../rig/machine.ts";
import { until } from "../rig/wait.ts";

/** What a check has on the machine, but for its bundles' files. */
function inventory(t: Context): string[] {
  return [
    ...findProcesses(t.token).map(({ pid, command, state }) => `process ${pid} (${state}): ${command}`),
    ...findMounts(t.token).map((path) => `mount ${path}`),
    ...findCgroups(t.token)
      .filter((path) => /\/c\d+$/.test(path))
      .map((path) => `cgroup ${path}`),
  ];
}

export const leaks: Section = {
  name: "leaks",
  checks: [
    {
      id: "LK-1.containers",
      level: "must",
      title: "Ten containers that came and went leave no process, zombie, mount or cgroup.",
      source: "docs/runtime-v2.md (delete)",
      body: async (t) => {
        for (let n = 0; n < 10; n++) {
          const shim = await t.run({ args: ["true"] });
          await shim.task.wait(shim.id);
          await shim.finish();
          await t.delete(shim.bundle);
        }
        await until("nothing to be left", () => inventory(t).length === 0, {
          timeout: 3000,
          received: () => inventory(t).join("; "),
        });
      },
    },
    {
      id: "LK-1.execs",
      level: "must",
      title: "A hundred execs leave no descriptor and no child in the shim.",
      source: "cmd/containerd-shim-runc-v2/process/io_test.go",
      limit: 60_000,
      alone: true,
      body: async (t) => {
        const shim = await t.run();
        const one = async (id: string): Promise<void> => {
          const stdout = t.reader("out");
          await shim.exec(id, ["echo", "x"], t.outputs(stdout));
          await shim.task.wait(shim.id, id);
          // As a client does: read while Delete waits for the output to be taken.
          const deleted = shim.task.delete(shim.id, id);
          equal("stdout", await stdout.end(), "x\n");
          await deleted;
          stdout.close();
        };
        for (let n = 0; n < 10; n++) await one(`w${n}`);
        const before = descriptorsOf(shim.pid).length;
        for (let n = 0; n < 100; n++) await one(`e${n}`);
        // A runtime that collects garbage may take a moment, or a few descriptors, more.
        await until(
          "no more descriptors than before, give or take 5",
          () => descriptorsOf(shim.pid).length <= before + 5,
          {
            timeout: 3000,
            received: () => `${descriptorsOf(shim.pid).length} after ${before}: ${descriptorsOf(shim.pid).join(" ")}`,
          },
        );
        const init = (await shim.task.state(shim.id)).pid;
        equal(
          "the children of the shim",
          childrenOf(shim.pid).map(({ pid }) => pid),
          [init],
        );
      },
    },
    {
      id: "LK-1.connections",
      level: "must",
      title: "Two hundred connections that came and went leave no descriptor in the shim.",
      source: "ttrpc/server.go",
      body: async (t) => {
        const shim = await t.run();
        const before = descriptorsOf(shim.pid).length;
        for (let n = 0; n < 200; n++) (await t.dial(shim.found.address)).close();
        await until(
          "no more descriptors than before, give or take 5",
          () => descriptorsOf(shim.pid).length <= before + 5,
          {
            timeout: 5000,
            received: () => `${descriptorsOf(shim.pid).length} after ${before}`,
          },
        );
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

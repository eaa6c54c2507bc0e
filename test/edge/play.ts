/** Playing a year: the machine is made, every step is a test, and in the end nothing is left. */

import { afterAll, beforeAll } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { whyNoLoop } from "../lib/loop.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { findFaketime, Machine } from "./machine.ts";
import { Network } from "./netns.ts";
import { EdgeNode, EdgeRegistry } from "./node.ts";
import type { Step } from "./year.ts";

const STEP_MS = 240_000;

/** Why a year cannot be played here; undefined when it can. */
function whyNoYear(): string | undefined {
  const missing = ["iptables", "ip", "unshare", "nsenter"].find((name) => Bun.which(name) === null);
  if (missing !== undefined) return `${missing} is not installed`;
  if (!["/usr/lib/cni", "/opt/cni/bin"].some((dir) => existsSync(join(dir, "bridge")))) return "no CNI plugins";
  return whyNoContainers() ?? whyNoLoop();
}

/** Plays steps, each a test; after each what must run runs, and `berth check` is clean. */
export function play(steps: readonly Step[]): void {
  const impossible = whyNoYear();
  let node: EdgeNode | undefined;
  let machine: Machine | undefined;
  // A machine on which one thing went wrong says nothing more about the next.
  let isBroken = false;

  if (impossible === undefined) {
    beforeAll(async () => {
      const { dir, token } = processScope();
      machine = new Machine({
        dir: join(dir, "m"),
        token: `${token}-m`,
        network: await Network.open(),
        faketime: findFaketime(),
      });
      const installed = await machine.install(configurationOf(machine));
      if (installed.exitCode !== 0) throw new Error(`berth install: ${installed.stderr}`);
      await machine.boot();
      node = new EdgeNode(machine, await EdgeRegistry.open(machine.network, join(dir, "registry")));
    }, 120_000);
    afterAll(async () => {
      await node?.registry.off();
      await machine?.scrap();
    }, 60_000);
  }

  for (const step of steps) {
    const body = async (): Promise<void> => {
      if (node === undefined) throw new Error("the machine did not boot");
      if (isBroken) throw new Error("an earlier step has left the node broken");
      isBroken = true;
      await step.happen(node);
      await node.isWell();
      await node.isClean();
      isBroken = false;
    };
    testUnless(impossible ?? step.skip?.(), step.name, body, STEP_MS);
  }
}

export function configurationOf({ disk, apps, images, namespace }: Machine): string {
  const text = JSON.stringify;
  return `[apps]
directory = ${text(apps)}
namespace = ${text(namespace)}
stable = "2s"
[images]
directories = ${text(images)}
namespace = ${text(namespace)}
[network]
conf_dir = ${text(join(disk, "etc/cni"))}
`;
}

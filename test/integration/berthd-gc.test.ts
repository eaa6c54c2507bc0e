/** The collector beside everything else: what is made and labelled while it works is there afterwards. */

import { expect } from "bun:test";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { GrpcClient } from "../lib/grpc.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";

const snapshots = "containerd.services.snapshots.v1.Snapshots";
const leases = "containerd.services.leases.v1.Leases";
const root = { "containerd.io/gc.root": "2024-01-01T00:00:00Z" };
/** How long snapshots are made under collections, in milliseconds: seen to find a lost one in a second and a half. */
const DURATION_MS = 6_000;
/** How many there are at least, however slow the machine is: more than the collector reads at a time; and collections. */
const LEAST = { made: 201, collected: 11 };

testUnless(
  whyNoContainers(),
  "snapshots that are committed while garbage is collected stay, and garbage goes",
  async () => {
    const scope = processScope();
    const daemon = new Berthd(join(scope.dir, "gc"), `${scope.token}-gc`);
    const where = { namespace: daemon.namespace };
    const snapshotter = "overlayfs";
    const made: string[] = [];
    const lost: string[] = [];
    let collected = 0;
    await daemon.start();
    const end = performance.now() + DURATION_MS;
    const goesOn = (): boolean => performance.now() < end || made.length < LEAST.made || collected < LEAST.collected;
    const client = new GrpcClient(daemon.address);
    const maker = async (worker: number): Promise<void> => {
      for (let count = 0; goesOn(); count++) {
        const [key, name] = [`work-${worker}-${count}`, `done-${worker}-${count}`];
        await client.call(snapshots, "Prepare", { snapshotter, key, labels: root }, where);
        await client.call(snapshots, "Commit", { snapshotter, key, name, labels: root }, where);
        made.push(name);
      }
    };
    const victims = async (): Promise<void> => {
      for (let count = 0; goesOn(); count++) {
        await client.call(snapshots, "Prepare", { snapshotter, key: `victim-${count}` }, where);
        await Bun.sleep(3);
      }
    };
    const collector = async (): Promise<void> => {
      for (; goesOn(); collected++) {
        await client.call(leases, "Create", { id: `lease-${collected}` }, where);
        await client.call(leases, "Delete", { id: `lease-${collected}`, sync: true }, where);
      }
    };
    try {
      await Promise.all([maker(1), maker(2), maker(3), victims(), collector()]);
      await client.call(leases, "Create", { id: "last" }, where);
      await client.call(leases, "Delete", { id: "last", sync: true }, where);
      const there = new Set<string>();
      for await (const { info } of client.stream(snapshots, "List", { snapshotter }, where)) {
        for (const { name } of info) there.add(name ?? "");
      }
      lost.push(...made.filter((name) => !there.has(name)));
      expect(lost).toEqual([]);
      expect([...there].filter((name) => name.startsWith("victim-"))).toEqual([]);
    } finally {
      client.close();
      await daemon.stop();
      daemon.remove();
    }
  },
  60_000,
);

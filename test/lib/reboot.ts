/** A machine that loses its power and comes back, as far as one machine can play it: nothing lives, memory is gone, the disk stays. */

import { Database } from "bun:sqlite";
import { createHash } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { GrpcClient } from "../../supervisor/client/grpc.ts";
import type { Daemon } from "./daemon.ts";
import { imageName } from "./image.ts";
import { sweep } from "./sweep.ts";
import { waitFor } from "./wait.ts";

/**
 * Kills everything of the daemon in one go, and takes away what a reboot takes: processes, mounts, cgroups, the state
 * directory, what runc and shims keep in /run; and the kernel's id of this boot is another.
 */
export async function powerCut(daemon: Daemon): Promise<void> {
  await daemon.kill();
  sweep([daemon.namespace, daemon.state]);
  rmSync(daemon.state, { recursive: true, force: true });
  mkdirSync(daemon.state);
  for (const end of ["", ".ttrpc"]) rmSync(`${daemon.address}${end}`, { force: true });
  const database = new Database(join(daemon.root, "berth.db"));
  database.run("UPDATE boots SET id = ?", [crypto.randomUUID()]);
  const all = database.query("SELECT id FROM containers WHERE namespace = ?").all(daemon.namespace) as { id: string }[];
  for (const { id } of all) for (const end of ["", "/debug"]) rmSync(daemon.socketPath(`${id}${end}`), { force: true });
  database.close();
}

/** Makes containers that are to run always, with further labels by their number, and waits until they do. */
export async function keepRunning(daemon: Daemon, ids: readonly string[]): Promise<void> {
  const flags = ["restart.status=running", "restart.policy=always"].flatMap((one) => [
    "--label",
    `containerd.io/${one}`,
  ]);
  // Records of applications are nobody's who would start the tasks.
  flags.push("--label", "berth/app=boot", "--label", "berth/stop-timeout=200", "--snapshotter", daemon.snapshotter);
  const runtime = ["--runtime", "io.containerd.runc.v2"];
  for (const id of ids) {
    await daemon.ctr(["containers", "create", ...flags, ...runtime, "--", imageName, id, "sleep", "1000"], {
      check: true,
    });
  }
  await allRunning(daemon, ids.length);
}

/** Waits until so many tasks run. */
export async function allRunning(daemon: Daemon, count: number, timeout = 120_000): Promise<void> {
  const api = new GrpcClient(daemon.address);
  try {
    await waitFor(
      `${count} tasks to run`,
      async () => {
        const options = { namespace: daemon.namespace, deadlineMs: 20_000 };
        const { tasks } = await api.call("containerd.services.tasks.v1.Tasks", "List", {}, options);
        return tasks.filter(({ status }) => status === RUNNING).length >= count;
      },
      { timeout, interval: 50 },
    );
  } finally {
    api.close();
  }
}

const RUNNING = 2;
const KEPT = { "containerd.io/gc.root": "2026-01-01T00:00:00Z" };

/** Gives the daemon's store blobs and snapshots that nobody refers to and nobody collects. */
export async function fillStore(daemon: Daemon, blobs: number, snapshots: number): Promise<void> {
  const api = new GrpcClient(daemon.address);
  const options = { namespace: daemon.namespace, deadlineMs: 60_000 };
  try {
    for (let n = 0; n < blobs; n++) {
      const data = Buffer.from(`blob ${n} of ${daemon.namespace}`);
      const expected = `sha256:${createHash("sha256").update(data).digest("hex")}`;
      const request = { action: 2, ref: `fill-${n}`, total: data.length, expected, offset: 0, data, labels: KEPT };
      const answers = api.duplex("containerd.services.content.v1.Content", "Write", once(request), options);
      for await (const _ of answers) break;
    }
    for (let n = 0; n < snapshots; n++) {
      const request = { snapshotter: daemon.snapshotter, key: `fill-${n}`, labels: KEPT };
      await api.call("containerd.services.snapshots.v1.Snapshots", "Prepare", request, options);
    }
  } finally {
    api.close();
  }
}

async function* once<T>(value: T): AsyncGenerator<T> {
  yield value;
}

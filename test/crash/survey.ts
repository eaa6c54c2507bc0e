/** What is there: every record that a daemon has, looked at by way of its API and, beneath it, on the disk. */

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { run } from "../lib/command.ts";
import type { Daemon } from "../lib/daemon.ts";
import { type GrpcClient, isServiceError } from "../lib/grpc.ts";
import { dist } from "../lib/paths.ts";
import type { Layered } from "./archive.ts";
import { digestOf, services, within } from "./load.ts";

interface Mount {
  type: string;
  source: string;
  options: string[];
}

/** Things by kind and name, with what they look like; and what is wrong in itself. */
export interface Survey {
  readonly there: Map<string, string>;
  readonly wrong: string[];
}

/**
 * Looks at everything.
 * @param deep read every byte: blobs against their digests, files of images and snapshots against what was put in
 */
export async function survey(
  daemon: Daemon,
  client: GrpcClient,
  archives: readonly Layered[],
  deep: boolean,
): Promise<Survey> {
  const where = { namespace: daemon.namespace };
  const snapshotter = daemon.snapshotter;
  const there = new Map<string, string>();
  const wrong: string[] = [];

  const blobs = new Set<string>();
  for await (const { info } of client.stream(services.content, "List", {}, where)) {
    for (const { digest: found, size } of info) {
      const digest = found ?? "";
      blobs.add(digest);
      there.set(`content/${digest}`, String(Number(size)));
      const path = join(daemon.root, "io.containerd.content.v1.content/blobs/sha256", digest.slice(7));
      try {
        if (statSync(path).size !== Number(size))
          wrong.push(`blob ${digest}: ${statSync(path).size} bytes, not ${Number(size)}`);
        else if (deep && digestOf(readFileSync(path)) !== digest) wrong.push(`blob ${digest}: other bytes`);
      } catch (error) {
        // What nothing refers to goes as garbage, at any moment; then the record is gone too.
        const record = await client.call(services.content, "Info", { digest }, where).catch(() => undefined);
        if (record !== undefined) wrong.push(`blob ${digest}: ${(error as Error).message}`);
      }
    }
  }

  const snapshots = new Map<string, number>();
  for await (const { info } of client.stream(services.snapshots, "List", { snapshotter }, where)) {
    for (const { name, kind } of info) snapshots.set(name ?? "", Number(kind));
  }
  const filesOf = async (name: string): Promise<string[]> => {
    const key = `look-${name.slice(-12)}-${Math.random().toString(36).slice(2)}`;
    const { mounts } = (await within(
      client.call(services.snapshots, "View", { snapshotter, key, parent: name }, where),
    )) as { mounts: Mount[] };
    // Garbage collection may have been faster.
    await within(client.call(services.snapshots, "Remove", { snapshotter, key }, where)).catch(() => undefined);
    return mounts.flatMap(({ type, source, options }) =>
      type === "bind"
        ? [source]
        : (options
            .find((one) => one.startsWith("lowerdir="))
            ?.slice(9)
            .split(":") ?? []),
    );
  };
  for (const [name, kind] of snapshots) {
    // 3: committed
    if (!name.startsWith("done-")) {
      if (name.startsWith("work-")) there.set(`active/${name}`, "");
      continue;
    }
    if (kind !== 3) wrong.push(`snapshot ${name} is of kind ${kind}`);
    let detail = "";
    if (deep) {
      try {
        const [upper = ""] = await filesOf(name);
        detail = `${name}=${digestOf(readFileSync(join(upper, name)))}`;
      } catch (error) {
        detail = (error as Error).message;
      }
    }
    there.set(`snapshot/${name}`, detail);
  }

  const images = (await within(client.call(services.images, "List", {}, where))).images;
  for (const { name, target } of images) {
    const manifest = archives.find((one) => one.manifest === target?.digest || one.name === name);
    there.set(`image/${name}`, manifest?.manifest ?? "");
    if (!manifest) continue;
    for (const digest of manifest.blobs) if (!blobs.has(digest)) wrong.push(`image ${name} lacks blob ${digest}`);
  }
  for (const archive of archives) {
    const top = archive.chain.at(-1) ?? "";
    if (!deep || snapshots.get(top) !== 3) continue;
    try {
      const layers = await filesOf(top);
      const before = wrong.length;
      for (const [file, digest] of archive.files) {
        const layer = layers.find((dir) => statSync(join(dir, file), { throwIfNoEntry: false }) !== undefined);
        if (layer === undefined) wrong.push(`snapshot of ${archive.name} lacks ${file}`);
        else if (digestOf(readFileSync(join(layer, file))) !== digest)
          wrong.push(`snapshot of ${archive.name} has other bytes in ${file}`);
      }
      if (wrong.length === before) there.set(`layers/${archive.name}`, "");
    } catch (error) {
      // What no image refers to goes as garbage, at any moment.
      const isGarbage = isServiceError(error) && error.code === 5 && !images.some(({ name }) => name === archive.name);
      if (!isGarbage) wrong.push(`snapshot of ${archive.name}: ${(error as Error).message}`);
    }
  }

  for (const { id } of (await within(client.call(services.leases, "List", {}, where))).leases)
    there.set(`lease/${id}`, "");
  for (const { id } of (await within(client.call(services.containers, "List", {}, where))).containers) {
    if (id?.startsWith("record-")) there.set(`container/${id}`, "");
  }
  for (const { id: found, status } of (await within(client.call(services.tasks, "List", {}, where))).tasks) {
    const id = found ?? "";
    there.set(id.startsWith("ends") ? `ending/${id}` : `running/${id}`, String(status));
  }
  return { there, wrong };
}

/** What `berth check` says is wrong, or nothing. */
export async function check(daemon: Daemon, verify: boolean): Promise<string[]> {
  const argv = [
    join(dist, "berth"),
    "check",
    "--root",
    daemon.root,
    "--state",
    daemon.state,
    "--address",
    daemon.address,
  ];
  const result = await run([...argv, ...(verify ? ["--verify"] : [])], { timeout: 60_000 });
  return result.exitCode === 0 ? [] : [`berth check: ${(result.stdout + result.stderr).trim()}`];
}

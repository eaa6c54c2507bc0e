/** `berth system df`: what takes room, and what could go. */

import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Api } from "../../client/api.ts";
import { blobSizes, detailsOf, type ImageDetails, listImages } from "../../client/images.ts";
import type { Connection } from "../connect.ts";
import { freedBy } from "../image/prune.ts";
import { shown } from "../output/escape.ts";
import { type ListFlags, type Listing, printList } from "../output/list.ts";
import { decimalSize } from "../output/size.ts";
import { print } from "../output/terminal.ts";
import { type ContainerView, containersOf } from "./containers.ts";
import { diskOf } from "./node.ts";
import { type ServerView, serverOf } from "./server.ts";

/** A kind of thing that takes room. */
interface Kind {
  readonly type: string;
  readonly total: number;
  readonly active: number;
  readonly size: number;
  /** Bytes that could go. */
  readonly reclaimable: number;
}

export interface DfFlags extends ListFlags {
  readonly verbose?: boolean;
}

const listing: Listing<Kind> = {
  columns: () => [
    { header: "TYPE", cell: ({ type }) => type },
    { header: "TOTAL", cell: ({ total }) => String(total) },
    { header: "ACTIVE", cell: ({ active }) => String(active) },
    { header: "SIZE", cell: ({ size }) => decimalSize(size) },
    { header: "RECLAIMABLE", cell: (kind) => reclaimable(kind) },
  ],
  item: (kind) => ({
    Type: kind.type,
    TotalCount: kind.total,
    Active: kind.active,
    Size: decimalSize(kind.size),
    SizeBytes: kind.size,
    Reclaimable: reclaimable(kind),
    ReclaimableBytes: kind.reclaimable,
  }),
  id: ({ type }) => type,
};

function reclaimable({ size, reclaimable: bytes }: Kind): string {
  return `${decimalSize(bytes)}${size > 0 ? ` (${Math.floor((bytes / size) * 100)}%)` : ""}`;
}

/** Prints what takes room. @throws CallError */
export async function diskUsage({ api, namespace }: Connection, flags: DfFlags): Promise<void> {
  const [server, containers, sizes, records] = await Promise.all([
    serverOf(api),
    containersOf(api, namespace),
    blobSizes(api, namespace),
    listImages(api, namespace),
  ]);
  const images = await detailsOf(api, namespace, records, sizes);
  const layers = await snapshotsOf(api, namespace, server.snapshotters, containers);
  const kinds: Kind[] = [
    imageKind(images, containers, sizes),
    layers.containers,
    layers.unpacked,
    directoryKind("Local Volumes", server, "volumes", () => false),
    logKind(server, namespace, containers),
  ];
  await printList(kinds, listing, flags);
  const disk = server.root === undefined ? undefined : diskOf(server.root);
  if (flags.format !== undefined || flags.quiet) return;
  if (disk)
    await print(`\n${shown(server.root ?? "")}: ${decimalSize(disk.free)} free of ${decimalSize(disk.total)}\n`);
  if (flags.verbose) await print(verbose(images, layers.byContainer));
}

function imageKind(
  images: readonly ImageDetails[],
  containers: readonly ContainerView[],
  sizes: ReadonlyMap<string, number>,
): Kind {
  const used = new Set(containers.map(({ image }) => image));
  const active = images.filter(({ name, isPinned }) => isPinned || used.has(name));
  const going = images.filter((image) => !active.includes(image));
  let size = 0;
  for (const bytes of sizes.values()) size += bytes;
  // Blobs that several of them share count once.
  const blobs = new Map(going.flatMap((image) => [...image.blobs]));
  let reclaimableBytes = 0;
  for (const [digest, bytes] of blobs) if (!active.some((image) => image.blobs.has(digest))) reclaimableBytes += bytes;
  return { type: "Images", total: images.length, active: active.length, size, reclaimable: reclaimableBytes };
}

/** The writable layers of containers, and the layers below them. */
async function snapshotsOf(
  api: Api,
  namespace: string,
  snapshotters: readonly string[],
  containers: readonly ContainerView[],
): Promise<{ containers: Kind; unpacked: Kind; byContainer: Map<string, number> }> {
  const byContainer = new Map<string, number>();
  let [unpacked, unpackedSize] = [0, 0];
  for (const snapshotter of snapshotters) {
    const names: string[] = [];
    try {
      const list = api.stream(
        "containerd.services.snapshots.v1.Snapshots",
        "List",
        { snapshotter, filters: [] },
        { namespace },
      );
      for await (const { info } of list) for (const one of info) names.push(one.name ?? "");
    } catch {
      // One that does not answer has nothing that can be counted.
      continue;
    }
    for (const key of names) {
      const size = await usageOf(api, namespace, snapshotter, key);
      const owner = containers.find((one) => one.snapshotKey === key && one.snapshotter === snapshotter);
      if (owner) byContainer.set(owner.id, size);
      else {
        unpacked++;
        unpackedSize += size;
      }
    }
  }
  const stopped = containers.filter(({ isStopped, isKept }) => isStopped && !isKept);
  const sum = (list: readonly ContainerView[]): number =>
    list.reduce((all, { id }) => all + (byContainer.get(id) ?? 0), 0);
  const running = containers.filter(({ isStopped }) => !isStopped).length;
  return {
    containers: {
      type: "Containers",
      total: containers.length,
      active: running,
      size: sum(containers),
      reclaimable: sum(stopped),
    },
    unpacked: { type: "Unpacked layers", total: unpacked, active: unpacked, size: unpackedSize, reclaimable: 0 },
    byContainer,
  };
}

async function usageOf(api: Api, namespace: string, snapshotter: string, key: string): Promise<number> {
  const request = { snapshotter, key };
  const usage = await api
    .call("containerd.services.snapshots.v1.Snapshots", "Usage", request, { namespace })
    .catch(() => undefined);
  return Number(usage?.size ?? 0);
}

function directoryKind(type: string, { root }: ServerView, name: string, goes: (entry: string) => boolean): Kind {
  const directory = root === undefined ? undefined : join(root, name);
  const entries = directory === undefined ? [] : namesIn(directory);
  let [size, reclaimableBytes] = [0, 0];
  for (const entry of entries) {
    const bytes = treeSize(join(directory ?? "", entry));
    size += bytes;
    if (goes(entry)) reclaimableBytes += bytes;
  }
  return { type, total: entries.length, active: entries.length, size, reclaimable: reclaimableBytes };
}

/** Logs of containers that are gone can go. */
function logKind(server: ServerView, namespace: string, containers: readonly ContainerView[]): Kind {
  const ids = new Set(containers.map(({ id }) => id));
  const kind = directoryKind("Logs", server, join("logs", namespace), (id) => !ids.has(id));
  return { ...kind, active: Math.min(kind.total, containers.length) };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Bytes on disk of everything below a path; links are not followed. */
function treeSize(path: string): number {
  try {
    const status = lstatSync(path);
    const own = status.blocks * 512;
    return status.isDirectory() ? namesIn(path).reduce((sum, name) => sum + treeSize(join(path, name)), own) : own;
  } catch {
    return 0;
  }
}

function verbose(images: readonly ImageDetails[], byContainer: ReadonlyMap<string, number>): string {
  const lines = ["", "Images:"];
  for (const image of images) {
    const alone = freedBy(
      image,
      images.filter((other) => other !== image),
    );
    lines.push(`  ${shown(image.name)}: ${decimalSize(image.size)}, of which ${decimalSize(alone)} no other image has`);
  }
  lines.push("", "Containers:");
  for (const [id, size] of byContainer) lines.push(`  ${shown(id)}: ${decimalSize(size)} written`);
  return `${lines.join("\n")}\n`;
}

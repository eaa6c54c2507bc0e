/** `berth commit`: a layer of what a container has changed, on top of the image that it was made of. */

import { failedPrecondition, messageOf, notFound } from "../../../proto/errdefs.ts";
import type { Api } from "../../client/api.ts";
import { withLease, writeDocument } from "../../client/content.ts";
import { detailsOf, fullName, type ImagePart, listImages } from "../../client/images.ts";
import { chainIds } from "../../image/chain.ts";
import { childLabels, type Descriptor } from "../../image/descriptor.ts";
import { mediaTypes } from "../../image/mediatype.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { interruptible } from "../output/interrupt.ts";
import { note, print } from "../output/terminal.ts";
import { changed, type RunConfig } from "./change.ts";
import { putImage } from "./records.ts";

const SNAPSHOTS = "containerd.services.snapshots.v1.Snapshots";
const TASKS = "containerd.services.tasks.v1.Tasks";
const CONTENT = "containerd.services.content.v1.Content";
const RUNNING = 2;
const LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";
const UNCOMPRESSED = "containerd.io/uncompressed";

export interface CommitFlags {
  readonly author?: string;
  readonly message?: string;
  readonly change?: readonly string[];
  readonly pause?: boolean;
}

/** Makes the image, and prints its digest. @throws ContainerdError */
export async function commit(
  { api, namespace }: Connection,
  id: string,
  name: string,
  flags: CommitFlags,
): Promise<void> {
  const reference = fullName(name);
  const { container } = await api.call("containerd.services.containers.v1.Containers", "Get", { id }, { namespace });
  const { snapshotter, snapshotKey: key, image = "" } = container ?? {};
  if (!snapshotter || !key)
    throw failedPrecondition(`container ${shown(id)} has no snapshot: there is nothing to make an image of`);
  const { info } = await api.call(SNAPSHOTS, "Stat", { snapshotter, key }, { namespace });
  const parent = info?.parent ?? "";
  const base = parent === "" ? undefined : await findBase(api, namespace, image ?? "", parent);
  // Wrong instructions are told before anything is done.
  const run = (flags.change ?? []).reduce(changed, (base?.document["config"] ?? {}) as RunConfig);
  const digest = await interruptible((signal) =>
    withLease(api, namespace, async (lease) => {
      const at = { namespace, lease, signal, deadlineMs: 0 };
      const layer = await paused(api, namespace, id, flags.pause !== false, () =>
        layerOf(api, at, { snapshotter, key, parent }),
      );
      const { info: blob } = await api.call(CONTENT, "Info", { digest: layer.digest }, at);
      const diffId = blob?.labels?.[UNCOMPRESSED];
      if (!diffId) throw failedPrecondition(`the daemon does not say what ${layer.digest} is uncompressed`);
      const config = await writeConfig(api, at, base, run, diffId, flags, snapshotter);
      const layers = [...(base?.manifest.layers ?? []), layer];
      const target = await writeManifest(api, at, config, layers);
      await putImage(api, namespace, { name: reference, labels: {}, target }, lease);
      return target.digest;
    }),
  );
  await print(`${digest}\n`);
}

interface At {
  readonly namespace: string;
  readonly lease: string;
  readonly signal: AbortSignal;
  readonly deadlineMs: number;
}

/** The image whose layers are below the container. @throws ContainerdError NotFound */
async function findBase(api: Api, namespace: string, name: string, parent: string): Promise<ImagePart> {
  const records = await listImages(api, namespace);
  // The image of the container's own name first; under that name there may be a newer one by now.
  const own = records.filter((record) => record.name === name);
  for (const some of [own, records]) {
    for (const { parts } of await detailsOf(api, namespace, some)) {
      const part = parts.find(({ config }) => chainIds(config.diffIds).at(-1) === parent);
      if (part !== undefined) return part;
    }
  }
  throw notFound(
    `the image that the container was made of (${shown(name)}) is not here any more: berth pull ${shown(name)}, and try again`,
  );
}

/** Runs `work` while the container is paused, when it runs. It goes on whatever happens. */
async function paused<T>(api: Api, namespace: string, id: string, pause: boolean, work: () => Promise<T>): Promise<T> {
  const task = await api.call(TASKS, "Get", { containerId: id, execId: "" }, { namespace }).catch(() => undefined);
  if (!pause || Number(task?.process?.status ?? 0) !== RUNNING) return work();
  await api.call(TASKS, "Pause", { containerId: id }, { namespace });
  try {
    return await work();
  } finally {
    await api.call(TASKS, "Resume", { containerId: id }, { namespace }).catch((error: unknown) => {
      note(`berth commit: ${shown(id)} is still paused: ${shown(messageOf(error))}; berth unpause ${shown(id)}\n`);
    });
  }
}

/** What the container has changed, as a blob. */
async function layerOf(
  api: Api,
  at: At,
  { snapshotter, key, parent }: { snapshotter: string; key: string; parent: string },
): Promise<Descriptor> {
  const view = `berth-commit-${process.pid}-${Date.now().toString(36)}`;
  const { mounts: left } = await api.call(SNAPSHOTS, "View", { snapshotter, key: view, parent }, at);
  try {
    const { mounts: right } = await api.call(SNAPSHOTS, "Mounts", { snapshotter, key }, at);
    const request = { left, right, mediaType: LAYER, ref: view };
    const { diff } = await api.call("containerd.services.diff.v1.Diff", "Diff", request, at);
    const { digest, size, mediaType } = diff ?? {};
    if (!digest) throw failedPrecondition("the daemon has made no layer");
    return { digest, size: Number(size ?? 0), mediaType: mediaType || LAYER };
  } finally {
    await api.call(SNAPSHOTS, "Remove", { snapshotter, key: view }, { namespace: at.namespace }).catch(() => undefined);
  }
}

async function writeConfig(
  api: Api,
  at: At,
  base: ImagePart | undefined,
  run: RunConfig,
  diffId: string,
  { author, message }: CommitFlags,
  snapshotter: string,
): Promise<Descriptor> {
  const created = new Date().toISOString();
  const diffIds = [...(base?.config.diffIds ?? []), diffId];
  const before = Array.isArray(base?.document["history"]) ? base.document["history"] : [];
  const step = {
    created,
    created_by: "berth commit",
    ...(author ? { author } : {}),
    ...(message ? { comment: message } : {}),
  };
  const document = {
    ...base?.document,
    ...(base ? {} : { os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch }),
    created,
    ...(author ? { author } : {}),
    config: run,
    rootfs: { type: "layers", diff_ids: diffIds },
    history: [...before, step],
  };
  const bytes = Buffer.from(JSON.stringify(document));
  // What is unpacked of the image stays as long as the image does.
  const labels = { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: chainIds(diffIds).at(-1) ?? "" };
  return { mediaType: mediaTypes.ociConfig, digest: await writeDocument(api, bytes, labels, at), size: bytes.length };
}

async function writeManifest(api: Api, at: At, config: Descriptor, layers: readonly Descriptor[]): Promise<Descriptor> {
  const plain = ({ mediaType, digest, size }: Descriptor) => ({ mediaType, digest, size });
  const mediaType = mediaTypes.ociManifest;
  const manifest = { schemaVersion: 2, mediaType, config: plain(config), layers: layers.map(plain) };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const labels = childLabels([config, ...layers]);
  return { mediaType, digest: await writeDocument(api, bytes, labels, at), size: bytes.length };
}

/** Blobs that lie on disk and that images need: their records, with the labels that keep what they refer to. */

import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { containerd } from "../../../proto/gen/supervisor.js";
import { childLabels, type Descriptor } from "../../image/descriptor.ts";
import { MAX_MANIFEST, parseIndex, parseManifest } from "../../image/manifest.ts";
import { isIndex, isManifest } from "../../image/mediatype.ts";
import { digestProblem } from "../digest.ts";
import { encodeLabels } from "../labels.ts";
import type { RebuildOptions } from "./rebuild.ts";

/** How deep an image is followed. */
const MAX_DEPTH = 8;

/** Adds records for the blobs of all images; bytes are not read but of manifests, the content store looks at them later. */
export function adoptBlobs({ database, root }: RebuildOptions): void {
  const blobs = join(root, "io.containerd.content.v1.content/blobs");
  const { Image } = containerd.services.images.v1;
  // Indexes may name the same many times, and each of those others.
  const adopted = new Set<string>();
  const images = database.all<{ namespace: string; record: Uint8Array }>("SELECT namespace, record FROM images");
  database.transaction(() => {
    for (const { namespace, record } of images) {
      const { target } = Image.decode(record);
      const { mediaType, digest, size } = target ?? {};
      adopt(namespace, { mediaType: mediaType ?? "", digest: digest ?? "", size: Number(size ?? 0) }, 0);
    }
  });

  function adopt(namespace: string, descriptor: Descriptor, depth: number): void {
    const { digest } = descriptor;
    const id = `${namespace} ${digest}`;
    if (depth > MAX_DEPTH || digestProblem(digest) !== undefined || adopted.has(id)) return;
    adopted.add(id);
    const path = join(blobs, digest.replace(":", "/"));
    const file = statSync(path, { throwIfNoEntry: false });
    if (file === undefined) return;
    const children = file.size <= MAX_MANIFEST ? childrenOf(path, descriptor) : [];
    const at = Math.round(file.mtimeMs * 1000);
    database.run(
      `INSERT OR IGNORE INTO blobs (namespace, digest, size, created_at, updated_at, labels) VALUES (?, ?, ?, ?, ?, ?)`,
      namespace,
      digest,
      file.size,
      at,
      at,
      encodeLabels(childLabels(children)),
    );
    for (const child of children) adopt(namespace, child, depth + 1);
  }
}

/** Removes records of blobs that are gone: a copy of the database may be of before they went. */
export function dropBlobs({ database, root }: RebuildOptions): void {
  const blobs = join(root, "io.containerd.content.v1.content/blobs");
  database.transaction(() => {
    for (const { digest } of database.all<{ digest: string }>("SELECT DISTINCT digest FROM blobs")) {
      const isThere = digestProblem(digest) === undefined && existsSync(join(blobs, digest.replace(":", "/")));
      if (!isThere) database.run("DELETE FROM blobs WHERE digest = ?", digest);
    }
  });
}

/** What a manifest refers to; nothing for one that is damaged, which is found out when it is used. */
function childrenOf(path: string, descriptor: Descriptor): readonly Descriptor[] {
  try {
    if (isIndex(descriptor.mediaType)) return parseIndex(readFileSync(path), descriptor);
    if (!isManifest(descriptor.mediaType)) return [];
    const { config, layers } = parseManifest(readFileSync(path), descriptor);
    return [config, ...layers];
  } catch {
    return [];
  }
}

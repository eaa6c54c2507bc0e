/** Images out of an archive: as they are, or made of older ones where the archive has deltas. */

import { ContainerdError } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { importArchive } from "./archive/importer.ts";
import { ByteSource, decompressed } from "./archive/source.ts";
import { type DeltaLoader, isDelta } from "./delta.ts";
import type { Descriptor } from "./descriptor.ts";
import { wantedChildren } from "./filter.ts";
import { childrenOf, parseIndex, readBlob } from "./manifest.ts";
import { isIndex } from "./mediatype.ts";
import { namesInArchive, namesOfTarget } from "./names.ts";
import { save } from "./save.ts";
import type { ImportEnd, Job, StoreEnd } from "./transfer.ts";
import { codeOf } from "./unpack.ts";
import type { Visit } from "./walk.ts";

/** What an import is made with. */
export interface ImportParts {
  /** Walks an image, unpacking it on the way when the store is to have it unpacked. */
  walk(root: Descriptor, visit: Visit): Promise<void>;
  readonly deltas: DeltaLoader | undefined;
}

/** Imports the images of an archive. @throws ContainerdError for what is none, or is refused */
export async function importImages(parts: ImportParts, archive: ImportEnd, store: StoreEnd, job: Job): Promise<void> {
  const { blobs, signal, report } = job;
  report({ event: "Importing" });
  const raw = new ByteSource(archive.bytes);
  let index: Descriptor;
  try {
    const source = archive.mediaType === "" ? await decompressed(raw) : raw;
    index = await importArchive(source, blobs, { compress: archive.compress, signal });
  } finally {
    await raw.close();
  }
  const manifests = parseIndex(await readBlob(blobs, index), index);
  const deltas = manifests.filter(isDelta);
  if (parts.deltas !== undefined && deltas.length > 0) {
    for (const delta of deltas) await importDelta(parts, parts.deltas, delta, store, job);
  } else await importAll(parts, index, manifests, store, job);
  report({ event: "Completed import" });
}

async function importAll(
  parts: ImportParts,
  index: Descriptor,
  manifests: readonly Descriptor[],
  store: StoreEnd,
  job: Job,
): Promise<void> {
  let isEmpty = true;
  const children = wantedChildren(job.blobs, store);
  await parts.walk(index, async (descriptor) => {
    const found = await children(descriptor);
    if (found.length > 0) isEmpty = false;
    return found;
  });
  if (isEmpty) throw new ContainerdError(Code.Unknown, "image might be filtered out");
  for (const [descriptor, names] of [
    [index, namesOfTarget] as const,
    ...manifests.map((m) => [m, namesInArchive] as const),
  ]) {
    let list: string[];
    try {
      list = names(store, descriptor);
    } catch (error) {
      if (codeOf(error) === Code.NotFound) continue;
      throw error;
    }
    await save(store, descriptor, list, job);
    for (const name of list) job.report({ event: "saved", name, descriptor });
  }
}

async function importDelta(
  { walk }: ImportParts,
  deltas: DeltaLoader,
  delta: Descriptor,
  store: StoreEnd,
  job: Job,
): Promise<void> {
  const { blobs, report } = job;
  const { root, name } = await deltas.load(delta, job);
  // Of an image for several platforms, a delta makes the one that it is for.
  const children = wantedChildren(blobs, store, async (descriptor) => {
    const all = await childrenOf(blobs, descriptor);
    if (!isIndex(descriptor.mediaType)) return all;
    const isHere = await Promise.all(all.map(async ({ digest }) => Promise.resolve(blobs.info(digest)).then(yes, no)));
    return all.filter((_, i) => isHere[i]);
  });
  await walk(root, children);
  const names = namesInArchive(store, { ...root, annotations: { "io.containerd.image.name": name } });
  await save(store, root, names, job);
  for (const saved of names) report({ event: "saved", name: saved, descriptor: root });
}

const yes = (): boolean => true;
const no = (): boolean => false;

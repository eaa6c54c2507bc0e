/** Pushes an image: layers and configurations first, then manifests, then indexes from the innermost out. */

import type { Descriptor } from "./descriptor.ts";
import { Limiter } from "./lock.ts";
import { childrenOf } from "./manifest.ts";
import { isIndex, isManifest } from "./mediatype.ts";
import { ProgressTracker } from "./progress.ts";
import type { Registry } from "./registry.ts";
import { sourcesIn } from "./source-label.ts";
import type { Job } from "./transfer.ts";
import { walk } from "./walk.ts";

/**
 * Pushes the image `name`.
 * @param parallel blobs that are pushed at a time
 * @throws ContainerdError NotFound for an image that is not there or lacks content; what the registry refuses with
 */
export async function pushImage(
  name: string,
  registry: Registry,
  parallel: number,
  { blobs, images, signal, report }: Job,
): Promise<void> {
  const to = `OCI Registry (${registry.reference})`;
  const { target } = images.get(name);
  report({ event: `Pushing to ${to}` });
  report({ event: "pushing content", name, descriptor: target });
  const tracker = new ProgressTracker(name, "uploading", report);
  const limiter = new Limiter(parallel);
  const send = (descriptor: Descriptor): Promise<void> =>
    limiter.with(signal, async () => {
      const isNew = await registry.push(descriptor, () => blobs.open(descriptor.digest), {
        signal,
        isRoot: descriptor.digest === target.digest,
        moved: (bytes) => tracker.moved(descriptor, bytes),
      });
      if (isNew) tracker.complete(descriptor);
      else tracker.exists(descriptor);
    });
  const manifests: Descriptor[] = [];
  const indexes: Descriptor[] = [];
  try {
    await walk(async (descriptor) => {
      tracker.add(descriptor);
      const { mediaType } = descriptor;
      if (!isManifest(mediaType) && !isIndex(mediaType)) {
        await send(descriptor);
        return [];
      }
      (isManifest(mediaType) ? manifests : indexes).push(descriptor);
      const children = await childrenOf(blobs, descriptor);
      tracker.addChildren(descriptor, children);
      const own = await blobs.info(descriptor.digest);
      const inherited = { ...sourcesIn(own.labels), ...sourcesIn(descriptor.annotations) };
      return Promise.all(
        children.map(async (child) => {
          const info = await Promise.resolve(blobs.info(child.digest)).catch(() => undefined);
          return { ...child, annotations: { ...inherited, ...sourcesIn(info?.labels), ...child.annotations } };
        }),
      );
    }, target);
    await Promise.all(manifests.map(send));
    for (const index of indexes.reverse()) await send(index);
    report({ event: "pushed content", name, descriptor: target });
    report({ event: `Completed push to ${to}`, descriptor: target });
  } finally {
    tracker.finish();
  }
}

/** Makes images whole: what is there stays, what is missing is fetched, and what is not unpacked is unpacked. */

import { messageOf } from "../../proto/errdefs.ts";
import type { Descriptor } from "../image/descriptor.ts";
import { hostPlatform } from "../image/platform.ts";
import { parseRemote } from "../image/reference.ts";
import type { Registry } from "../image/registry.ts";
import { imagesOf } from "../image/session.ts";
import type { Repaired } from "./blobs.ts";
import type { NamedImage } from "./known.ts";
import { type RepairRooms, registryOf } from "./rooms.ts";

/**
 * Fetches what is missing of an image and unpacks it, as a pull of just that image would: its registry is asked for
 * nothing that is there.
 * @param snapshotters to unpack to
 */
export async function restoreImage(
  rooms: Pick<RepairRooms, "config" | "images" | "transfers">,
  { namespace, name }: NamedImage,
  snapshotters: readonly string[],
  { signal, told }: { readonly signal: AbortSignal; readonly told: (what: string) => void },
): Promise<Repaired> {
  const { target, labels } = imagesOf(rooms.images, { namespace, lease: undefined }).get(name);
  told(`restoring image ${namespace}/${name}`);
  let isFetched = false;
  const registry = localFirst(rooms, name, target, () => {
    isFetched = true;
  });
  const platform = hostPlatform();
  const store = {
    ...({ kind: "store", name, labels, extraReferences: [] } as const),
    ...{ platforms: [platform], allMetadata: false, manifestLimit: 0 },
    unpacks: snapshotters.map((snapshotter) => ({ platform, snapshotter })),
  };
  const options = { namespace, lease: undefined, signal, report: () => undefined };
  try {
    await rooms.transfers.transfer({ kind: "registry", registry }, store, options);
    const from = isFetched ? "fetched again from its registry" : "all of its blobs were there";
    const unpacked = snapshotters.length > 0 ? `, unpacked anew with ${snapshotters.join(", ")}` : "";
    return { isRepaired: true, detail: `image ${name}: ${from}${unpacked}` };
  } catch (error) {
    if (signal.aborted) throw error;
    return { isRepaired: false, detail: `image ${name}: ${messageOf(error)}: pull or import it again, or remove it` };
  }
}

/** A registry that knows already what the name stands for, and is only asked for blobs that are missing. */
function localFirst(
  { config }: Pick<RepairRooms, "config">,
  name: string,
  target: Descriptor,
  asked: () => void,
): Registry {
  let remote: Registry | undefined;
  return {
    reference: name,
    resolve: async () => target,
    fetch(descriptor, offset, signal) {
      asked();
      remote ??= registryOf(config, `${parseRemote(name).locator}@${target.digest}`);
      return remote.fetch(descriptor, offset, signal);
    },
    push: () => Promise.reject(new Error("nothing is pushed by a repair")),
  };
}

/** `berth tag`, `pin`, `unpin`, `rmi`: what only changes records. */

import { ContainerdError, failedPrecondition } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import type { Api } from "../../client/api.ts";
import { findImage, findImages, fullName, type ImageRecord, listImages } from "../../client/images.ts";
import { imageLabels } from "../../container/labels.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { print } from "../output/terminal.ts";

const IMAGES = "containerd.services.images.v1.Images";
const CONTAINERS = "containerd.services.containers.v1.Containers";

/** Gives an image one more name; a name that another image has goes over to this one. @throws ContainerdError */
export async function tag({ api, namespace }: Connection, source: string, target: string): Promise<void> {
  const image = await findImage(api, namespace, source);
  const { [imageLabels.pinned]: _, ...labels } = image.labels;
  await putImage(api, namespace, { ...image, name: fullName(target), labels });
}

/** Creates an image, or replaces the one of that name. @throws CallError */
export async function putImage(
  api: Api,
  namespace: string,
  { name, labels, target }: Pick<ImageRecord, "name" | "labels" | "target">,
  lease?: string,
): Promise<void> {
  const image = { name, labels: { ...labels }, target: { ...target } };
  try {
    await api.call(IMAGES, "Create", { image }, { namespace, lease });
  } catch (error) {
    if (!(error instanceof ContainerdError) || error.code !== Code.AlreadyExists) throw error;
    await api.call(IMAGES, "Update", { image }, { namespace, lease });
  }
}

/** Keeps images from collection and pruning, or lets them go again. @throws ContainerdError */
export async function pin({ api, namespace }: Connection, names: readonly string[], isPinned: boolean): Promise<void> {
  const { pinned, pinnedValue } = imageLabels;
  for (const name of names) {
    for (const image of await findImages(api, namespace, name)) {
      // An empty value takes the label away.
      const labels = { [pinned]: isPinned ? pinnedValue : "" };
      const request = { image: { name: image.name, labels }, updateMask: { paths: [`labels.${pinned}`] } };
      await api.call(IMAGES, "Update", request, { namespace });
      await print(`${shown(image.name)}\n`);
    }
  }
}

/** Containers by the image that they were made from. @throws CallError */
export async function usersOfImages(api: Api, namespace: string): Promise<Map<string, string[]>> {
  const { containers } = await api.call(CONTAINERS, "List", { filters: [] }, { namespace });
  const users = new Map<string, string[]>();
  for (const { id, image } of containers) {
    if (!image) continue;
    const ids = users.get(image) ?? [];
    ids.push(id ?? "");
    users.set(image, ids);
  }
  return users;
}

/**
 * Removes names of images; what no name has any more is collected. Goes on after one that fails.
 * @returns the exit status
 */
export async function removeImages(
  { api, namespace }: Connection,
  names: readonly string[],
  force: boolean,
): Promise<number> {
  const users = await usersOfImages(api, namespace);
  let status = 0;
  for (const name of names) {
    try {
      const images = await findImages(api, namespace, name);
      checkRemoval(name, images, users, force);
      for (const image of images) await removeImage(api, namespace, image);
    } catch (error) {
      if (force && error instanceof ContainerdError && error.code === Code.NotFound) continue;
      status = 1;
      process.stderr.write(`berth rmi: ${(error as Error).message}\n`);
    }
  }
  return status;
}

/** @throws ContainerdError FailedPrecondition */
function checkRemoval(
  name: string,
  images: readonly ImageRecord[],
  users: ReadonlyMap<string, string[]>,
  force: boolean,
): void {
  if (force) return;
  if (images.length > 1) {
    const all = images.map((image) => shown(image.name)).join(", ");
    throw failedPrecondition(`${shown(name)} has several names (${all}): remove one of them, or all with -f`);
  }
  for (const image of images) {
    const ids = users.get(image.name);
    if (ids === undefined) continue;
    const [word, them] = ids.length === 1 ? ["container", "it"] : ["containers", "them"];
    throw failedPrecondition(
      `${shown(image.name)} is used by the ${word} ${ids.map(shown).join(", ")}: remove ${them} first, or use -f; ` +
        "with -f a container that has been made goes on, but no new one can be made of the image",
    );
  }
}

/** Removes one record and says so. @throws CallError */
export async function removeImage(api: Api, namespace: string, image: ImageRecord): Promise<void> {
  await api.call(IMAGES, "Delete", { name: image.name, sync: true }, { namespace });
  await print(`Untagged: ${shown(image.name)}\n`);
  const others = await listImages(api, namespace);
  if (others.every(({ target }) => target.digest !== image.target.digest)) {
    await print(`Deleted: ${shown(image.target.digest)}\n`);
  }
}

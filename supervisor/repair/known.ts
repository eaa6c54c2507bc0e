/** What images tell of blobs and layers: what they are, and where they can come from. */

import { chainIds } from "../image/chain.ts";
import type { Descriptor } from "../image/descriptor.ts";
import { childrenOf, parseConfig, readBlob } from "../image/manifest.ts";
import { isConfig } from "../image/mediatype.ts";
import { parseReference, parseRemote } from "../image/reference.ts";
import { blobsOf, imagesOf } from "../image/session.ts";
import { sourcesIn } from "../image/source-label.ts";
import { walk } from "../image/walk.ts";
import { decodeLabels } from "../store/labels.ts";
import type { RepairRooms } from "./rooms.ts";

/** A blob that images consist of. */
interface KnownBlob {
  readonly descriptor: Descriptor;
  /** Names of images that have it. */
  readonly images: Set<string>;
}

/** An image by name. */
export interface NamedImage {
  readonly namespace: string;
  readonly name: string;
}

/** What all images tell, as far as their blobs can be read. */
export class Known {
  readonly #rooms: Pick<RepairRooms, "database" | "content" | "images">;
  /** By digest. */
  readonly #blobs = new Map<string, KnownBlob>();
  /** Images by `NAMESPACE CHAIN-ID` of the layers that they are unpacked to. */
  readonly #layers = new Map<string, NamedImage>();

  /** Host and repository of all images that have the name of something in a registry. */
  readonly #locators = new Set<string>();

  private constructor(rooms: Pick<RepairRooms, "database" | "content" | "images">) {
    this.#rooms = rooms;
  }

  /** Reads manifests and configurations of all images. */
  static async read(rooms: Pick<RepairRooms, "database" | "content" | "images">): Promise<Known> {
    const known = new Known(rooms);
    for (const image of rooms.database.all<NamedImage>("SELECT namespace, name FROM images ORDER BY namespace, name")) {
      await known.#image(image);
    }
    return known;
  }

  /** What a blob is; undefined for one that no image has. */
  descriptor(digest: string): Descriptor | undefined {
    return this.#blobs.get(digest)?.descriptor;
  }

  /** An image that is unpacked to a layer. */
  imageOfLayer(namespace: string, chainId: string): NamedImage | undefined {
    return this.#layers.get(`${namespace} ${chainId}`);
  }

  /**
   * Names in registries under which a blob may be had, the likeliest first: images that have it, then where its labels
   * say that it came from.
   */
  references(digest: string): string[] {
    const places = this.#places(digest);
    const named = [...(this.#blobs.get(digest)?.images ?? [])].flatMap(locatorOf);
    // Labels have no ports: the name of an image, be it another, is more exact.
    const exact = places.flatMap((place) => {
      const found = [...this.#locators].filter((locator) => withoutPort(locator) === place);
      return found.length > 0 ? found : [place];
    });
    const isLabelled = (locator: string): boolean => exact.includes(locator);
    const ordered = [...named.filter(isLabelled), ...exact, ...named.filter((locator) => !isLabelled(locator))];
    return [...new Set(ordered)].map((locator) => `${locator}@${digest}`);
  }

  /** `HOST/REPOSITORY` of the labels that say where a blob came from. */
  #places(digest: string): string[] {
    return this.#rooms.database
      .all<{ labels: string }>("SELECT labels FROM blobs WHERE digest = ?", digest)
      .flatMap(({ labels }) => Object.entries(sourcesIn(decodeLabels(labels))))
      .flatMap(([key, value]) => {
        const host = key.replace(/^containerd\.io\/distribution\.source\./, "");
        const repositories = value.split(",").filter((repository) => repository !== "");
        return repositories.map((repository) => `${host}/${repository}`);
      });
  }

  async #image({ namespace, name }: NamedImage): Promise<void> {
    for (const locator of locatorOf(name)) this.#locators.add(locator);
    const scope = { namespace, lease: undefined };
    const blobs = blobsOf(this.#rooms.content, scope);
    const { target } = imagesOf(this.#rooms.images, scope).get(name);
    const visit = async (descriptor: Descriptor): Promise<readonly Descriptor[]> => {
      const known = this.#blobs.get(descriptor.digest) ?? { descriptor, images: new Set<string>() };
      known.images.add(name);
      this.#blobs.set(descriptor.digest, known);
      try {
        if (isConfig(descriptor.mediaType)) {
          const { diffIds } = parseConfig(await readBlob(blobs, descriptor), descriptor.digest);
          for (const id of chainIds(diffIds)) this.#layers.set(`${namespace} ${id}`, { namespace, name });
        }
        return await childrenOf(blobs, descriptor);
      } catch {
        // It is not there, or damaged: what it refers to is known when it was repaired.
        return [];
      }
    };
    await walk(visit, target).catch(() => undefined);
  }
}

/** Host and repository of an image's name; none of one that no registry can have. */
function locatorOf(name: string): string[] {
  try {
    return [parseRemote(name).locator];
  } catch {
    return [];
  }
}

/** `host/repository` without the port of the host. */
function withoutPort(locator: string): string {
  const { locator: place } = parseReference(locator);
  const slash = place.indexOf("/");
  return slash < 0 ? place : place.slice(0, slash).replace(/:\d*$/, "") + place.slice(slash);
}

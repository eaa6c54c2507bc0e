/** Images of applications: fetched before anything is touched, and kept by their digests as long as they may be gone back to. */

import { ContainerdError } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Api, ResponseOf } from "../client/api.ts";
import { withLease } from "../client/content.ts";
import { fullName } from "../client/images.ts";
import type { TransferStep } from "../client/transfer.ts";
import { ensureImage, type ImageRequest, type RunImage } from "../container/image.ts";
import { imageLabels } from "../container/labels.ts";
import type { RunOptions } from "../container/options.ts";
import { placeOf } from "../container/place.ts";
import { isNotFound } from "../container/task.ts";
import type { PullTell } from "./machine.ts";

const IMAGES = "containerd.services.images.v1.Images";
/** The label of images that are kept for applications. */
const KEPT = "berth/app-image";

type ImageMessage = NonNullable<ResponseOf<typeof IMAGES, "Get">["image"]>;

/** The images of one daemon. */
export class AppImages {
  readonly #api: Api;

  constructor(api: Api) {
    this.#api = api;
  }

  /** The digest that a reference names here. */
  async digest(namespace: string, image: string): Promise<string | undefined> {
    return (await this.#get(namespace, nameOf(image)))?.target?.digest ?? undefined;
  }

  /** The reference by which an image of a digest is had here: its name where that is still it. */
  async reference(namespace: string, image: string, digest: string | undefined): Promise<string> {
    if (digest === undefined || (await this.digest(namespace, image)) === digest) return image;
    return byDigest(nameOf(image), digest);
  }

  /** Sees to it that an image is here and unpacked. @returns its digest @throws ContainerdError */
  async ensure(
    namespace: string,
    request: Pick<RunOptions, "image" | "pull" | "platform">,
    digest: string | undefined,
    tell: PullTell,
    signal: AbortSignal,
  ): Promise<string> {
    const { platform } = request;
    const image = await this.reference(namespace, request.image, digest);
    const found = await this.#ensure(namespace, { ...request, image, platform }, tell, signal);
    return found.digest;
  }

  /** What a container's labels take from its image. @throws ContainerdError */
  async facts(namespace: string, { image, platform }: RunOptions): Promise<RunImage> {
    const signal = AbortSignal.timeout(60_000);
    return this.#ensure(namespace, { image, platform, pull: "never" }, () => {}, signal);
  }

  /** Keeps images under their digests, and lets go of what was kept and is not wanted. @throws ContainerdError */
  async keep(namespace: string, images: readonly { readonly image: string; readonly digest: string }[]): Promise<void> {
    const api = this.#api;
    const wanted = new Map(images.map(({ image, digest }) => [byDigest(nameOf(image), digest), { image, digest }]));
    const filters = [`labels."${KEPT}"`];
    const { images: kept } = await api.call(IMAGES, "List", { filters }, { namespace });
    for (const { name } of kept) {
      if (!wanted.delete(name ?? ""))
        await api.call(IMAGES, "Delete", { name: name ?? "" }, { namespace }).catch(ignoreMissing);
    }
    for (const [name, { image, digest }] of wanted) {
      const there = await this.#get(namespace, nameOf(image));
      if (there?.target?.digest !== digest) continue;
      const labels = { [KEPT]: "true", [imageLabels.pinned]: imageLabels.pinnedValue };
      try {
        await api.call(IMAGES, "Create", { image: { name, target: there.target, labels } }, { namespace });
      } catch (error) {
        // Somebody has it under its digest already: then that stays, and is not pinned by us.
        if (!(error instanceof ContainerdError) || error.code !== Code.AlreadyExists) throw error;
      }
    }
  }

  async #ensure(namespace: string, request: ImageRequest, tell: PullTell, signal: AbortSignal): Promise<RunImage> {
    const api = this.#api;
    const { snapshotter } = await placeOf(api);
    return withLease(api, namespace, (lease) => {
      const onStep = ({ event, name, progress, total }: TransferStep): void =>
        tell({ event, name, progress: Number(progress), total: Number(total) });
      return ensureImage({ api, namespace, snapshotter, lease, signal, onStep }, request);
    });
  }

  async #get(namespace: string, name: string): Promise<ImageMessage | undefined> {
    try {
      return (await this.#api.call(IMAGES, "Get", { name }, { namespace })).image ?? undefined;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }
}

/** The full name; what is none stays, and is refused by whoever fetches it. */
function nameOf(image: string): string {
  try {
    return fullName(image);
  } catch {
    return image;
  }
}

/** `docker.io/library/nginx@sha256:...` of `docker.io/library/nginx:1.27`. */
export function byDigest(name: string, digest: string): string {
  const repository = name.replace(/@.*$/, "").replace(/:[^:/]*$/, "");
  return `${repository}@${digest}`;
}

function ignoreMissing(error: unknown): void {
  if (!isNotFound(error)) throw error;
}

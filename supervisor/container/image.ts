/** The image that a container is made of: found, or pulled, and unpacked into snapshots. */

import { ContainerdError, invalidArgument, notFound } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Api, ResponseOf } from "../client/api.ts";
import { readDocument } from "../client/content.ts";
import { findImage, fullName, parsePlatform, tryFullName } from "../client/images.ts";
import { lacksTransfer, pullImage, type RegistryOptions, type TransferStep } from "../client/transfer.ts";
import { chainIds } from "../image/chain.ts";
import type { Descriptor } from "../image/descriptor.ts";
import { parseConfig, parseIndex, parseManifest } from "../image/manifest.ts";
import { isIndex } from "../image/mediatype.ts";
import { format, hostPlatform, type Matcher, ordered, runnable } from "../image/platform.ts";
import { uniquePart } from "../image/unpack.ts";
import { type ImageDefaults, imageDefaults } from "./image-config.ts";

const IMAGES = "containerd.services.images.v1.Images";
const SNAPSHOTS = "containerd.services.snapshots.v1.Snapshots";
/** Indexes in indexes, at most. */
const MAX_DEPTH = 3;
/** Unpacking a layer takes as long as its disk. */
const APPLY_MS = 3_600_000;

/** An image, as a container needs it. */
export interface RunImage {
  /** Its full name. */
  readonly name: string;
  readonly digest: string;
  readonly defaults: ImageDefaults;
  readonly configDigest: string;
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly string[];
  /** Name of the snapshot of all its layers; empty for an image without any. */
  readonly chainId: string;
}

/** Which image, and how it may be had. */
export interface ImageRequest {
  readonly image: string;
  readonly pull?: "missing" | "always" | "never";
  readonly platform?: string | undefined;
}

/** Where it is worked. */
export interface ImagePlace {
  readonly api: Api;
  readonly namespace: string;
  readonly snapshotter: string;
  readonly lease: string;
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: ((step: TransferStep) => void) | undefined;
  /** Told before a pull begins. */
  readonly onPull?: ((name: string) => void) | undefined;
  readonly registry?: RegistryOptions | undefined;
}

/**
 * Finds an image, pulls it when it must be, and unpacks it when it is not.
 * @throws ContainerdError that says what to do
 */
export async function ensureImage(place: ImagePlace, request: ImageRequest): Promise<RunImage> {
  const { pull = "missing" } = request;
  const here = pull === "always" ? undefined : await localImage(place, request);
  if (here === undefined && pull === "never") {
    throw notFound(`there is no image ${request.image}, and --pull never: berth pull or berth load brings it`);
  }
  const image = here ?? (await pulled(place, request));
  await unpack(place, image);
  return image;
}

async function pulled(place: ImagePlace, request: ImageRequest): Promise<RunImage> {
  const name = fullName(request.image);
  const { api, namespace, lease, signal, onStep } = place;
  place.onPull?.(name);
  const platform = request.platform === undefined ? hostPlatform() : parsePlatform(request.platform);
  const message = { os: platform.os, architecture: platform.architecture, variant: platform.variant ?? "" };
  try {
    await pullImage({ api, namespace, lease, signal, onStep }, name, place.registry, {
      platforms: [message],
      unpack: place.snapshotter,
    });
  } catch (error) {
    if (!lacksTransfer(error)) throw error;
    throw new ContainerdError(
      Code.Unimplemented,
      `there is no image ${name}, and this containerd is older than 1.7, which pulls only by its own client: ` +
        `ctr --namespace ${namespace} images pull ${name}`,
    );
  }
  const image = await localImage(place, { ...request, image: name });
  if (image === undefined) throw notFound(`${name} was pulled, but has nothing for ${format(platform)}`);
  return image;
}

/** The image as it is here; undefined when it, or a part of it that is needed, is not. @throws ContainerdError */
async function localImage({ api, namespace }: ImagePlace, request: ImageRequest): Promise<RunImage | undefined> {
  const record = await recordOf(api, namespace, request.image);
  if (record === undefined) return undefined;
  const { mediaType = "", digest = "", size = 0 } = record.target ?? {};
  const matcher = request.platform === undefined ? runnable(hostPlatform()) : ordered(parsePlatform(request.platform));
  const target = { mediaType: mediaType ?? "", digest: digest ?? "", size: Number(size ?? 0) };
  try {
    return await read(api, namespace, record.name ?? request.image, target, matcher);
  } catch (error) {
    if (error instanceof ContainerdError && error.code === Code.NotFound) return undefined;
    throw error;
  }
}

type ImageMessage = NonNullable<ResponseOf<typeof IMAGES, "Get">["image"]>;

async function recordOf(api: Api, namespace: string, name: string): Promise<ImageMessage | undefined> {
  for (const wanted of new Set([name, tryFullName(name)])) {
    if (wanted === undefined) continue;
    try {
      const { image } = await api.call(IMAGES, "Get", { name: wanted }, { namespace });
      if (image) return image;
    } catch (error) {
      if (!(error instanceof ContainerdError) || ![Code.NotFound, Code.InvalidArgument].some((c) => c === error.code)) {
        throw error;
      }
    }
  }
  if (!/^(sha256:)?[0-9a-f]{4,64}$/.test(name)) {
    // A name that nobody could have pulled is refused before anybody tries.
    fullName(name);
    return undefined;
  }
  try {
    const found = await findImage(api, namespace, name);
    return (await api.call(IMAGES, "Get", { name: found.name }, { namespace })).image ?? undefined;
  } catch (error) {
    if (error instanceof ContainerdError && error.code === Code.NotFound) return undefined;
    throw error;
  }
}

async function read(
  api: Api,
  namespace: string,
  name: string,
  target: Descriptor,
  matcher: Matcher,
): Promise<RunImage | undefined> {
  let descriptor = target;
  for (let depth = 0; isIndex(descriptor.mediaType); depth++) {
    if (depth === MAX_DEPTH) throw invalidArgument(`${name} is an index of indexes of indexes: it is no image`);
    const children = parseIndex(await readDocument(api, namespace, descriptor.digest), descriptor);
    const fitting = children
      .filter(({ platform, mediaType }) => (platform === undefined ? isIndex(mediaType) : matcher.matches(platform)))
      .sort((a, b) => (a.platform && b.platform ? matcher.compare(a.platform, b.platform) : 0));
    // One manifest without a platform is what archives of one image have.
    const [chosen = children.length === 1 ? children[0] : undefined] = fitting;
    if (chosen === undefined) {
      const has = children.flatMap(({ platform }) => (platform && platform.os !== "unknown" ? [format(platform)] : []));
      throw invalidArgument(`${name} is not for this machine: it has ${[...new Set(has)].join(", ") || "no platform"}`);
    }
    descriptor = chosen;
  }
  const { config, layers } = parseManifest(await readDocument(api, namespace, descriptor.digest), descriptor);
  const text = await readDocument(api, namespace, config.digest);
  const { diffIds } = parseConfig(text, config.digest);
  if (layers.length !== diffIds.length)
    throw invalidArgument(`${name} has ${layers.length} layers and ${diffIds.length} diff ids`);
  const document = JSON.parse(new TextDecoder().decode(text)) as Readonly<Record<string, unknown>>;
  return {
    name,
    digest: target.digest,
    defaults: imageDefaults(document),
    configDigest: config.digest,
    layers,
    diffIds,
    chainId: chainIds(diffIds).at(-1) ?? "",
  };
}

/** Makes the snapshots of an image's layers where they are missing. */
async function unpack(place: ImagePlace, { layers, diffIds, chainId, configDigest, name }: RunImage): Promise<void> {
  const { api, namespace, snapshotter, lease, signal } = place;
  const options = { namespace, lease, signal };
  if (chainId === "" || (await isThere(place, chainId))) return;
  const chain = chainIds(diffIds);
  for (const [index, layer] of layers.entries()) {
    const id = chain[index] ?? "";
    if (await isThere(place, id)) continue;
    const key = `extract-${uniquePart()} ${id}`;
    const parent = chain[index - 1] ?? "";
    const labels = { "containerd.io/snapshot.ref": id };
    const { mounts } = await api.call(SNAPSHOTS, "Prepare", { snapshotter, key, parent, labels }, options);
    try {
      const diff = { mediaType: layer.mediaType, digest: layer.digest, size: layer.size };
      const { applied } = await api.call(
        "containerd.services.diff.v1.Diff",
        "Apply",
        { diff, mounts },
        { ...options, deadlineMs: APPLY_MS },
      );
      if (applied?.digest !== diffIds[index]) {
        throw new ContainerdError(
          Code.DataLoss,
          `layer ${layer.digest} of ${name} is not what the image says: pull it anew`,
        );
      }
      await api.call(SNAPSHOTS, "Commit", { snapshotter, name: id, key, labels }, options);
    } catch (error) {
      await api.call(SNAPSHOTS, "Remove", { snapshotter, key }, { namespace }).catch(() => undefined);
      // Somebody else was faster.
      if (!(error instanceof ContainerdError) || error.code !== Code.AlreadyExists) throw error;
    }
  }
  const label = `containerd.io/gc.ref.snapshot.${snapshotter}`;
  const info = { digest: configDigest, labels: { [label]: chainId } };
  const updateMask = { paths: [`labels.${label}`] };
  await api.call("containerd.services.content.v1.Content", "Update", { info, updateMask }, options);
}

async function isThere({ api, namespace, snapshotter }: ImagePlace, key: string): Promise<boolean> {
  try {
    await api.call(SNAPSHOTS, "Stat", { snapshotter, key }, { namespace });
    return true;
  } catch (error) {
    if (error instanceof ContainerdError && error.code === Code.NotFound) return false;
    throw error;
  }
}

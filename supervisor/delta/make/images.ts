/** The two images of a delta: out of the store of a daemon, or out of archives. */

import { createReadStream, statSync } from "node:fs";
import { invalidArgument, notFound } from "../../../proto/errdefs.ts";
import type { Api } from "../../client/api.ts";
import { findImage } from "../../client/images.ts";
import { importArchive } from "../../image/archive/importer.ts";
import { ByteSource, decompressed } from "../../image/archive/source.ts";
import type { Descriptor } from "../../image/descriptor.ts";
import {
  type ImageConfig,
  type Manifest,
  parseConfig,
  parseIndex,
  parseManifest,
  readBlob,
} from "../../image/manifest.ts";
import { isIndex, isManifest } from "../../image/mediatype.ts";
import type { Matcher } from "../../image/platform.ts";
import { ORIGINAL } from "../document.ts";
import { WorkBlobs, type WorkDirectory } from "./work.ts";

const CONTENT = "containerd.services.content.v1.Content";
const IMAGE_NAME = "io.containerd.image.name";

/** An image whose documents are here, and whose layers can be had. */
export interface DeltaImage {
  readonly name: string;
  /** What its name stands for. */
  readonly target: Descriptor;
  readonly manifest: Descriptor;
  readonly parts: Manifest;
  readonly config: ImageConfig;
  /** Digest of the manifest as its maker had it, where a delta has made this one. */
  readonly original: string;
  readonly blobs: WorkBlobs;
}

/** Where images come from. */
export interface ImagePlace {
  readonly work: WorkDirectory;
  readonly platform: Matcher;
  readonly signal: AbortSignal;
  /** The daemon, for names of images; asked only when one is wanted. */
  readonly daemon: () => { readonly api: Api; readonly namespace: string };
}

/** An image by the path of an archive, if there is such a file, else by its name. @throws ContainerdError */
export async function openImage(what: string, place: ImagePlace): Promise<DeltaImage> {
  const status = statSync(what, { throwIfNoEntry: false });
  if (status?.isDirectory()) throw invalidArgument(`${what} is a directory: give the name of an image, or an archive`);
  return status === undefined ? fromStore(what, place) : fromArchive(what, place);
}

async function fromStore(name: string, place: ImagePlace): Promise<DeltaImage> {
  const { api, namespace } = place.daemon();
  const image = await findImage(api, namespace, name);
  const blobs = new WorkBlobs(place.work, async function* (digest) {
    for await (const { data } of api.stream(
      CONTENT,
      "Read",
      { digest, offset: 0, size: 0 },
      { namespace, signal: place.signal },
    )) {
      yield data;
    }
    // A stream that is cancelled ends as if all of it had come.
    place.signal.throwIfAborted();
  });
  return imageOf(image.name, image.target, blobs, place);
}

async function fromArchive(path: string, place: ImagePlace): Promise<DeltaImage> {
  const blobs = new WorkBlobs(place.work);
  const raw = new ByteSource(createReadStream(path, { highWaterMark: 1 << 20 }));
  let index: Descriptor;
  try {
    index = await importArchive(await decompressed(raw), blobs, { compress: false, signal: place.signal });
  } finally {
    await raw.close();
  }
  const images = parseIndex(await readBlob(blobs, index), index);
  const digests = new Set(images.map(({ digest }) => digest));
  const [first] = images;
  if (first === undefined) throw notFound(`${path} has no image: not found`);
  if (digests.size > 1)
    throw invalidArgument(`${path} has ${digests.size} images: save one into an archive of its own`);
  const { [IMAGE_NAME]: name = path } = first.annotations ?? {};
  return imageOf(name, first, blobs, place);
}

async function imageOf(name: string, target: Descriptor, blobs: WorkBlobs, place: ImagePlace): Promise<DeltaImage> {
  const manifest = await manifestOf(name, target, blobs, place.platform);
  const bytes = await readBlob(blobs, manifest);
  const parts = parseManifest(bytes, manifest);
  const config = parseConfig(await readBlob(blobs, parts.config), parts.config.digest);
  if (config.diffIds.length !== parts.layers.length) {
    throw invalidArgument(
      `${name} has ${parts.layers.length} layers and ${config.diffIds.length} diff ids: invalid argument`,
    );
  }
  const { annotations } = JSON.parse(new TextDecoder().decode(bytes)) as { annotations?: Record<string, unknown> };
  const original = annotations?.[ORIGINAL];
  return {
    ...{ name, target: plain(target), manifest: plain(manifest), parts, config, blobs },
    original: typeof original === "string" ? original : manifest.digest,
  };
}

/** What tells a blob; annotations of an archive's index are not of the image. */
function plain({ mediaType, digest, size, platform }: Descriptor): Descriptor {
  return { mediaType, digest, size, platform };
}

async function manifestOf(name: string, target: Descriptor, blobs: WorkBlobs, platform: Matcher): Promise<Descriptor> {
  if (isManifest(target.mediaType)) return target;
  if (!isIndex(target.mediaType)) throw invalidArgument(`${name} is of type ${target.mediaType}, which is no image`);
  const [best] = parseIndex(await readBlob(blobs, target), target)
    .filter(
      (child) => isManifest(child.mediaType) && (child.platform === undefined || platform.matches(child.platform)),
    )
    .sort((a, b) => (a.platform && b.platform ? platform.compare(a.platform, b.platform) : 0));
  if (best === undefined) throw notFound(`${name} has no image for this platform: name one with --platform`);
  return best;
}

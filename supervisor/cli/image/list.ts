/** `berth images`. */

import type { Api } from "../../client/api.ts";
import { detailsOf, type ImageDetails, listImages, partForHost, splitName } from "../../client/images.ts";
import { format as platformText } from "../../image/platform.ts";
import { ago } from "../output/age.ts";
import { shown } from "../output/escape.ts";
import { type ListFlags, type Listing, printList } from "../output/list.ts";
import { decimalSize } from "../output/size.ts";

/** What the flags of the verb say. */
export interface ImagesFlags extends ListFlags {
  readonly digests?: boolean;
  readonly filter?: readonly string[];
}

/** Moments before this one are what builders write that want equal images of equal sources. */
const FIRST_REAL = Date.UTC(1980, 0, 2);

/** When an image was made: as its configuration says, or when it came here. */
export function createdOf(image: ImageDetails): Date {
  const text = partForHost(image)?.document["created"];
  const said = typeof text === "string" ? new Date(text) : undefined;
  return said !== undefined && said.getTime() >= FIRST_REAL ? said : image.createdAt;
}

/** The first digits of a digest that tell it from others, as docker shows ids. */
export function shortId(digest: string): string {
  return digest.slice(digest.indexOf(":") + 1).slice(0, 12);
}

/** How images are listed. */
export function imageListing(withDigests: boolean, now = new Date()): Listing<ImageDetails> {
  const platforms = ({ parts }: ImageDetails): string => parts.map(({ platform }) => platformText(platform)).join(",");
  return {
    columns: (full) => [
      { header: "REPOSITORY", cell: ({ name }) => shown(splitName(name).repository), min: 16 },
      { header: "TAG", cell: ({ name }) => shown(splitName(name).tag), min: 8 },
      ...(withDigests ? [{ header: "DIGEST", cell: ({ target }: ImageDetails) => shown(target.digest), min: 19 }] : []),
      { header: "IMAGE ID", cell: ({ target }) => shown(full ? target.digest : shortId(target.digest)) },
      { header: "CREATED", cell: (image) => ago(createdOf(image), now), drop: 1 },
      { header: "PLATFORM", cell: (image) => shown(platforms(image)), min: 8, drop: 3 },
      { header: "SIZE", cell: ({ size }) => decimalSize(size), align: "right" },
      { header: "PINNED", cell: ({ isPinned }) => (isPinned ? "yes" : ""), drop: 2 },
    ],
    item: (image) => {
      const { repository, tag } = splitName(image.name);
      return {
        Name: image.name,
        Repository: repository,
        Tag: tag,
        ID: image.target.digest,
        Digest: image.target.digest,
        CreatedAt: createdOf(image).toISOString(),
        CreatedSince: ago(createdOf(image), now),
        Size: decimalSize(image.size),
        SizeBytes: image.size,
        Platform: platforms(image),
        Pinned: image.isPinned,
        Labels: image.labels,
      };
    },
    id: ({ target }, full) => (full ? target.digest : shortId(target.digest)),
  };
}

/** Lists the images of a namespace. @param name a repository, or a whole name; undefined for all */
export async function images(api: Api, namespace: string, name: string | undefined, flags: ImagesFlags): Promise<void> {
  const records = await listImages(api, namespace);
  const named = name === undefined ? records : records.filter((image) => isNamed(image.name, name));
  const details = await detailsOf(api, namespace, named);
  const found = details.filter((image) => (flags.filter ?? []).every((filter) => matches(image, filter)));
  // An id is listed once, however many names it has.
  const rows = flags.quiet ? [...new Map(found.map((image) => [image.target.digest, image])).values()] : found;
  await printList(rows, imageListing(flags.digests ?? false), flags);
}

/** True when a person who asks for `wanted` means this image: by its whole name or by its repository. */
function isNamed(name: string, wanted: string): boolean {
  if (name === wanted) return true;
  const mine = splitName(name);
  const asked = splitName(wanted);
  const hasTag = /[:@][^/]*$/.test(wanted);
  return mine.repository === asked.repository && (!hasTag || mine.tag === asked.tag);
}

/** @throws Error for a filter that is none */
function matches(image: ImageDetails, filter: string): boolean {
  const equals = filter.indexOf("=");
  const [key, value] = equals < 0 ? [filter, ""] : [filter.slice(0, equals), filter.slice(equals + 1)];
  switch (key) {
    case "dangling":
      return (splitName(image.name).tag === "<none>") === (value !== "false");
    case "pinned":
      return image.isPinned === (value !== "false");
    case "reference":
      return new Bun.Glob(value).match(image.name) || isNamed(image.name, value);
    case "label": {
      const at = value.indexOf("=");
      const [name, wanted] = at < 0 ? [value, undefined] : [value.slice(0, at), value.slice(at + 1)];
      const labels = { ...configLabels(image), ...image.labels };
      return Object.hasOwn(labels, name) && (wanted === undefined || labels[name] === wanted);
    }
    default:
      throw new Error(`--filter ${filter}: it is dangling, pinned, reference=PATTERN or label=NAME[=VALUE]`);
  }
}

/** The labels of an image's own configuration. */
function configLabels(image: ImageDetails): Readonly<Record<string, string>> {
  const config = partForHost(image)?.document["config"];
  const labels = (config as { Labels?: unknown } | null | undefined)?.Labels;
  return typeof labels === "object" && labels !== null ? (labels as Record<string, string>) : {};
}

/** `berth image inspect` and `history`. */

import type { Api } from "../../client/api.ts";
import {
  detailsOf,
  findImages,
  type ImageDetails,
  type ImagePart,
  listImages,
  partForHost,
  splitName,
} from "../../client/images.ts";
import { format as platformText } from "../../image/platform.ts";
import type { Connection } from "../connect.ts";
import { ago } from "../output/age.ts";
import { shown, shownJson } from "../output/escape.ts";
import { fill, type Item, type ListFlags, type Listing, printList } from "../output/list.ts";
import { decimalSize } from "../output/size.ts";
import { print } from "../output/terminal.ts";
import { createdOf } from "./list.ts";

/** What is known of an image, under docker's names. @throws ContainerdError NotFound */
export async function inspectImage(api: Api, namespace: string, name: string): Promise<Item> {
  const [record, ...more] = await findImages(api, namespace, name);
  const [image] = record === undefined ? [] : await detailsOf(api, namespace, [record]);
  if (image === undefined) throw new Error(`there is no image ${name}`);
  const all = await listImages(api, namespace);
  const same = all.filter(({ target }) => target.digest === image.target.digest);
  return itemOf(
    image,
    [image, ...more, ...same].map(({ name: other }) => other),
  );
}

function itemOf(image: ImageDetails, names: readonly string[]): Item {
  const part = partForHost(image) ?? image.parts[0];
  const document = part?.document ?? {};
  const { digest, mediaType } = image.target;
  const repositories = new Set(names.map((name) => splitName(name).repository));
  return {
    Id: part?.configDigest ?? digest,
    RepoTags: [...new Set(names)].filter((name) => !name.includes("@")),
    RepoDigests: [...repositories].map((repository) => `${repository}@${digest}`),
    Comment: "",
    Created: createdOf(image).toISOString(),
    Author: document["author"] ?? "",
    Architecture: part?.platform.architecture ?? "",
    Variant: part?.platform.variant ?? "",
    Os: part?.platform.os ?? "",
    Size: image.size,
    Config: document["config"] ?? null,
    RootFS: { Type: "layers", Layers: part?.config.diffIds ?? [] },
    Metadata: { LastTagTime: image.updatedAt.toISOString(), PulledAt: image.createdAt.toISOString() },
    Descriptor: { mediaType, digest, size: image.target.size },
    Platforms: image.parts.map(({ platform, manifestDigest }) => ({
      Platform: platformText(platform),
      Manifest: manifestDigest,
    })),
    Layers: (part?.manifest.layers ?? []).map((layer) => ({
      Digest: layer.digest,
      Size: layer.size,
      MediaType: layer.mediaType,
    })),
    Labels: image.labels,
    Pinned: image.isPinned,
  };
}

/** Prints what is known of images. @returns the exit status: 1 when one is not there */
export async function inspectImages(
  { api, namespace }: Connection,
  names: readonly string[],
  format?: string,
): Promise<number> {
  const items: Item[] = [];
  let status = 0;
  for (const name of names) {
    try {
      items.push(await inspectImage(api, namespace, name));
    } catch (error) {
      status = 1;
      process.stderr.write(`berth image inspect: ${(error as Error).message}\n`);
    }
  }
  if (format === undefined || format === "json")
    await print(`${shownJson(items, format === undefined ? 4 : undefined)}\n`);
  else for (const item of items) await print(`${fill(format, item)}\n`);
  return status;
}

interface Step {
  readonly created: Date | undefined;
  readonly command: string;
  readonly size: number;
  readonly comment: string;
  readonly digest: string | undefined;
}

function stepListing(now = new Date()): Listing<Step> {
  const command = (text: string): string =>
    text.replace(/^\/bin\/sh -c #\(nop\) +/, "").replace(/^\/bin\/sh -c /, "RUN ");
  const cut = (text: string, full: boolean): string => (full || text.length <= 60 ? text : `${text.slice(0, 59)}…`);
  return {
    columns: (full) => [
      { header: "LAYER", cell: ({ digest }) => (digest === undefined ? "" : full ? digest : digest.slice(7, 19)) },
      { header: "CREATED", cell: ({ created }) => ago(created, now) },
      { header: "CREATED BY", cell: (step) => shown(cut(command(step.command), full)), min: 10 },
      { header: "SIZE", cell: ({ size }) => decimalSize(size), align: "right" },
      { header: "COMMENT", cell: ({ comment }) => shown(cut(comment, full)), min: 7, drop: 1 },
    ],
    item: ({ created, command, size, comment, digest }) => ({
      ID: digest ?? "<missing>",
      CreatedAt: created?.toISOString() ?? "",
      CreatedSince: ago(created, now),
      CreatedBy: command,
      Size: decimalSize(size),
      SizeBytes: size,
      Comment: comment,
    }),
    id: ({ digest }, full) => (digest === undefined ? "<missing>" : full ? digest : digest.slice(7, 19)),
  };
}

/** Prints what an image was made of, the last step first. @throws ContainerdError */
export async function history({ api, namespace }: Connection, name: string, flags: ListFlags): Promise<void> {
  const [record] = await findImages(api, namespace, name);
  const [image] = record === undefined ? [] : await detailsOf(api, namespace, [record]);
  const part = image && (partForHost(image) ?? image.parts[0]);
  if (part === undefined)
    throw new Error(`the configuration of ${name} is not here: berth pull ${name} fetches it again`);
  await printList(stepsOf(part), stepListing(), flags);
}

/** The steps of an image's configuration with the layers that they made. All of it may be hostile. */
export function stepsOf({ document, manifest }: Pick<ImagePart, "document" | "manifest">): Step[] {
  const list = Array.isArray(document["history"]) ? (document["history"] as unknown[]) : [];
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  let layer = 0;
  const steps = list.map((entry): Step => {
    const { created, created_by, comment, empty_layer } = (
      typeof entry === "object" && entry !== null ? entry : {}
    ) as Record<string, unknown>;
    const made = empty_layer === true ? undefined : manifest.layers[layer++];
    const date = new Date(text(created));
    return {
      created: Number.isNaN(date.getTime()) ? undefined : date,
      command: text(created_by),
      comment: text(comment),
      size: made?.size ?? 0,
      digest: made?.digest,
    };
  });
  // Layers that no step tells of are shown nevertheless.
  for (const { digest, size } of manifest.layers.slice(layer))
    steps.push({ created: undefined, command: "", comment: "", size, digest });
  return steps.reverse();
}

/** Images: names for blobs (core/metadata/images.go). */

import { alreadyExists, invalidArgument, notFound } from "../../proto/errdefs.ts";
import { containerd, type google } from "../../proto/gen/supervisor.js";
import type { Publisher } from "../event/publisher.ts";
import type { Database } from "./database.ts";
import { digestProblem } from "./digest.ts";
import { entryOf, withEntry, withoutEmpty } from "./fieldpath.ts";
import { always, type Filter, labelOf, parseFilters } from "./filter.ts";
import { checkLabels, encodeLabels } from "./labels.ts";
import type { Leases } from "./leases.ts";
import { quote } from "./quote.ts";
import { nowMicros, timestampOf } from "./time.ts";

const { Image: ImageType, ImageCreate, ImageUpdate, ImageDelete } = containerd.services.images.v1;

/** An image as clients give it. */
export type NewImage = containerd.services.images.v1.Image.$Properties;
/** An image as it is kept. */
export type Image = ReturnType<typeof ImageType.decode>;

/** When and under what an image is made or changed. */
export interface ImageChange {
  /** The lease that the caller works under. */
  readonly lease?: string | undefined;
  /** Taken for the present, so that builds can be repeated. */
  readonly epoch?: google.protobuf.Timestamp.$Properties | null | undefined;
}

/** What images need beside themselves. */
export interface ImagesOptions {
  readonly database: Database;
  readonly publisher: Publisher;
  readonly namespaces: { require(namespace: string): void };
  readonly leases: Pick<Leases, "hold" | "release">;
  readonly collector: { schedule(): void };
  /**
   * Resolves when an image, by the digest of its target, would survive a power cut, unpacked or to be unpacked: it is not
   * told to be kept before.
   */
  readonly survives?: (namespace: string, digest: string) => Promise<void>;
  /** Told of every change: names of images are nowhere but in the database. */
  readonly backup?: { soon(): void };
}

/** The images of one daemon. */
export class Images {
  readonly #options: ImagesOptions;
  readonly #database: Database;

  constructor(options: ImagesOptions) {
    this.#options = options;
    this.#database = options.database;
  }

  /** The encoded message of an image. @throws ContainerdError NotFound */
  record(namespace: string, name: string): Uint8Array {
    const row = this.#database.get<{ record: Uint8Array }>(
      "SELECT record FROM images WHERE namespace = ? AND name = ?",
      namespace,
      name,
    );
    if (row === undefined) throw missing(name);
    return row.record;
  }

  /** @throws ContainerdError NotFound */
  get(namespace: string, name: string): Image {
    return ImageType.decode(this.record(namespace, name));
  }

  /**
   * The encoded messages of the images that one of the filters lets through, by name.
   * @throws ContainerdError InvalidArgument for a wrong filter
   */
  records(namespace: string, filters: readonly string[]): Uint8Array[] {
    const filter = parseFilters(filters);
    const records = this.#database
      .all<{ record: Uint8Array }>("SELECT record FROM images WHERE namespace = ? ORDER BY name", namespace)
      .map(({ record }) => record);
    return filter === always ? records : records.filter((record) => passes(filter, record));
  }

  /** {@link records}, decoded. */
  list(namespace: string, filters: readonly string[] = []): Image[] {
    return this.records(namespace, filters).map((record) => ImageType.decode(record));
  }

  /**
   * Keeps a new image; its namespace is made when it is not there.
   * @throws ContainerdError InvalidArgument, AlreadyExists, NotFound for the lease
   */
  async create(namespace: string, image: NewImage, change: ImageChange = {}): Promise<NewImage> {
    validate(image);
    await this.#options.survives?.(namespace, image.target?.digest ?? "");
    const at = change.epoch ?? timestampOf(nowMicros());
    const created = { ...fieldsOf(image), createdAt: at, updatedAt: at };
    await this.#database.commit(() => {
      this.#options.namespaces.require(namespace);
      this.#hold(namespace, created, change.lease);
      if (this.#has(namespace, created.name)) throw alreadyExists(`image ${quote(created.name)}: already exists`);
      this.#write(namespace, created);
    });
    const { name, labels } = created;
    this.#publish(namespace, "create", ImageCreate.encode({ name, labels }).finish());
    return created;
  }

  /**
   * Replaces what `paths` name, or without paths everything but the time of creation.
   * @throws ContainerdError InvalidArgument, NotFound
   */
  async update(
    namespace: string,
    image: NewImage,
    paths: readonly string[],
    change: ImageChange = {},
  ): Promise<NewImage> {
    const given = fieldsOf(image);
    if (given.name === "") throw invalidArgument("image name is required for update: invalid argument");
    await this.#options.survives?.(namespace, given.target?.digest ?? "");
    const updated = await this.#database.commit(() => {
      this.#options.namespaces.require(namespace);
      const old = fieldsOf(this.get(namespace, given.name));
      const changed = {
        ...(paths.length === 0 ? given : apply(old, given, paths)),
        createdAt: old.createdAt,
        updatedAt: change.epoch ?? timestampOf(nowMicros()),
      };
      validate(changed);
      changed.labels = withoutEmpty(changed.labels);
      changed.target = { ...changed.target, annotations: withoutEmpty(changed.target.annotations) };
      this.#hold(namespace, changed, change.lease);
      this.#write(namespace, changed);
      return changed;
    });
    // What the image stood for before may be garbage now.
    this.#options.collector.schedule();
    const { name, labels } = updated;
    this.#publish(namespace, "update", ImageUpdate.encode({ name, labels }).finish());
    return updated;
  }

  /**
   * @param target when given, the digest that the image must have
   * @throws ContainerdError NotFound
   */
  async delete(
    namespace: string,
    name: string,
    options: { lease?: string | undefined; target?: string } = {},
  ): Promise<void> {
    await this.#database.commit(() => {
      this.#options.leases.release(namespace, options.lease, { type: "images", id: name });
      if (options.target) {
        const has = this.get(namespace, name).target?.digest ?? "";
        if (has !== options.target) {
          throw notFound(`image ${quote(name)} has target ${has}, not ${options.target}: not found`);
        }
      }
      if (this.#database.run("DELETE FROM images WHERE namespace = ? AND name = ?", namespace, name) === 0) {
        throw missing(name);
      }
    });
    this.#options.collector.schedule();
    this.#publish(namespace, "delete", ImageDelete.encode({ name }).finish());
  }

  #has(namespace: string, name: string): boolean {
    return this.#database.get("SELECT 1 FROM images WHERE namespace = ? AND name = ?", namespace, name) !== undefined;
  }

  /** A lease keeps an image only that would expire. */
  #hold(namespace: string, image: NewImage, lease: string | undefined): void {
    if (image.labels?.["containerd.io/gc.expire"] === undefined) return;
    this.#options.leases.hold(namespace, lease, { type: "images", id: image.name ?? "" });
  }

  #write(namespace: string, image: Fields): void {
    this.#database.run(
      `INSERT INTO images (namespace, name, digest, labels, record) VALUES (?1, ?2, ?3, ?4, ?5)
       ON CONFLICT DO UPDATE SET digest = ?3, labels = ?4, record = ?5`,
      namespace,
      image.name,
      image.target.digest ?? "",
      encodeLabels(image.labels),
      ImageType.encode(image).finish(),
    );
  }

  #publish(namespace: string, verb: "create" | "update" | "delete", value: Uint8Array): void {
    this.#options.backup?.soon();
    const name = { create: "ImageCreate", update: "ImageUpdate", delete: "ImageDelete" }[verb];
    this.#options.publisher.publish(namespace, `/images/${verb}`, {
      name: `containerd.services.images.v1.${name}`,
      value,
    });
  }
}

type Fields = ReturnType<typeof fieldsOf>;

function missing(name: string): Error {
  return notFound(`image ${quote(name)}: not found`);
}

/** The fields of an image that are kept, none missing. */
function fieldsOf(image: NewImage) {
  const { mediaType = "", digest = "", size = 0, annotations } = image.target ?? {};
  return {
    name: image.name ?? "",
    labels: withoutEmpty(image.labels),
    target: { mediaType, digest, size: Number(size), annotations: withoutEmpty(annotations) },
    createdAt: image.createdAt ?? null,
    updatedAt: image.updatedAt ?? null,
  };
}

function apply(old: Fields, given: Fields, paths: readonly string[]): Fields {
  let { labels, target } = old;
  for (const path of paths) {
    const label = entryOf(path, "labels.");
    const annotation = entryOf(path, "annotations.");
    if (label !== undefined) labels = withEntry(labels, label, given.labels, "");
    else if (annotation !== undefined) {
      target = { ...target, annotations: withEntry(target.annotations, annotation, given.target.annotations, "") };
    } else if (path === "labels") labels = given.labels;
    else if (path === "target") target = given.target;
    else if (path === "annotations") target = { ...target, annotations: given.target.annotations };
    else throw invalidArgument(`cannot update ${quote(path)} field on image ${quote(given.name)}: invalid argument`);
  }
  return { ...old, labels, target };
}

function validate(image: NewImage): void {
  if (!image.name) throw invalidArgument("image name must not be empty: invalid argument");
  checkLabels(image.labels ?? {}, "image.Labels: ");
  const { digest = "", size = 0, mediaType } = image.target ?? {};
  const problem = digestProblem(digest ?? "");
  if (problem !== undefined) {
    throw invalidArgument(`Target.Digest ${quote(digest ?? "")} invalid: ${problem}: invalid argument`);
  }
  if (Number(size) <= 0) throw invalidArgument("Target.Size must be greater than zero: invalid argument");
  if (!mediaType) throw invalidArgument("Target.MediaType must be set: invalid argument");
}

function passes(filter: Filter, record: Uint8Array): boolean {
  const { name, target, labels } = ImageType.decode(record);
  return filter(([first = "", ...rest]) => {
    if (first === "name") return name || undefined;
    if (first === "labels") return labelOf(labels, rest);
    if (first === "annotations") return labelOf(target?.annotations ?? {}, rest);
    if (first !== "target") return undefined;
    if (rest[0] === "digest") return target?.digest || undefined;
    return rest[0] === "mediatype" ? target?.mediaType || undefined : undefined;
  });
}

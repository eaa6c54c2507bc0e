/** Containers: metadata and a specification, no process (core/metadata/containers.go). */

import { alreadyExists, invalidArgument, notFound } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import type { Publisher } from "../event/publisher.ts";
import type { Database } from "./database.ts";
import { describedBy, withoutEmpty } from "./fieldpath.ts";
import { always, type FieldLookup, labelOf, parseFilters } from "./filter.ts";
import { validateIdentifier } from "./identifier.ts";
import { checkLabels, decodeLabels, encodeLabels } from "./labels.ts";
import { kinds, type NamespaceKeeper } from "./namespaces.ts";
import { quote } from "./quote.ts";
import { nowMicros, timestampOf } from "./time.ts";

const { Container: ContainerType } = containerd.services.containers.v1;
const { ContainerCreate, ContainerDelete, ContainerUpdate } = containerd.events;

/** A container as clients give it. */
export type NewContainer = containerd.services.containers.v1.Container.$Properties;
/** A container as it is kept. */
export type Container = ReturnType<typeof ContainerType.decode>;

/** What a container's record needs beside itself. */
export interface ContainersOptions {
  readonly database: Database;
  readonly publisher: Publisher;
  readonly namespaces: NamespaceKeeper;
  /** Told that a container has gone, and with it what it kept from collection. */
  readonly collector: { schedule(): void };
  /** Resolves when there is room for something new; else it throws. */
  readonly admit?: () => Promise<void>;
  /** Resolves when a snapshot survives a power cut: no container is told to be made before. */
  readonly settled?: (namespace: string, snapshotter: string, key: string) => Promise<void>;
}

/** What filters ask for. */
interface Row {
  readonly id: string;
  readonly image: string;
  readonly runtime: string;
  readonly labels: string;
}

/** What an update without field paths replaces. */
const mutable = ["labels", "spec", "extensions", "image", "snapshotkey"];

/** The containers of one daemon. */
export class Containers {
  readonly #options: ContainersOptions;
  readonly #database: Database;

  constructor(options: ContainersOptions) {
    this.#options = options;
    this.#database = options.database;
  }

  /** The encoded message of a container. @throws ContainerdError NotFound */
  record(namespace: string, id: string): Uint8Array {
    const record = this.#find(namespace, id);
    if (record === undefined) {
      throw notFound(`container ${quote(id)} in namespace ${quote(namespace)}: not found`);
    }
    return record;
  }

  /** @throws ContainerdError NotFound */
  get(namespace: string, id: string): Container {
    return ContainerType.decode(this.record(namespace, id));
  }

  /**
   * The encoded messages of the containers that one of the filters lets through, by id.
   * @throws ContainerdError InvalidArgument for a wrong filter
   */
  records(namespace: string, filters: readonly string[]): Uint8Array[] {
    const filter = parseFilters(filters);
    if (filter === always) {
      return this.#database
        .all<{ record: Uint8Array }>("SELECT record FROM containers WHERE namespace = ? ORDER BY id", namespace)
        .map(({ record }) => record);
    }
    return this.#database
      .all<Row>("SELECT id, image, runtime, labels FROM containers WHERE namespace = ? ORDER BY id", namespace)
      .filter((row) => filter(lookupOf(row)))
      .map(({ id }) => this.record(namespace, id));
  }

  /** {@link records}, decoded. */
  list(namespace: string, filters: readonly string[] = []): Container[] {
    return this.records(namespace, filters).map((record) => ContainerType.decode(record));
  }

  /**
   * Keeps a new container; its namespace is made when it is not there.
   * @throws ContainerdError InvalidArgument, AlreadyExists
   */
  async create(namespace: string, container: NewContainer): Promise<NewContainer> {
    validate(container, "create container failed validation: ");
    await this.#options.admit?.();
    await this.#options.settled?.(namespace, container.snapshotter ?? "", container.snapshotKey ?? "");
    const at = timestampOf(nowMicros());
    const created = { ...fieldsOf(container), createdAt: at, updatedAt: at };
    await this.#database.commit(() => {
      this.#options.namespaces.require(namespace, kinds.containers);
      if (this.#find(namespace, created.id) !== undefined) {
        throw alreadyExists(`container ${quote(created.id)}: already exists`);
      }
      this.#write(namespace, created);
    });
    const { id, image, runtime } = created;
    this.#publish(namespace, "create", ContainerCreate.encode({ id, image, runtime }).finish());
    return created;
  }

  /**
   * Replaces what `paths` name, or without paths everything that may change.
   * @throws ContainerdError InvalidArgument for a path that may not, or cannot, be changed; NotFound
   */
  async update(namespace: string, container: NewContainer, paths: readonly string[]): Promise<NewContainer> {
    const given = fieldsOf(container);
    const isOther = given.snapshotKey !== "" && (paths.length === 0 || paths.includes("snapshotkey"));
    const before = isOther ? this.#find(namespace, given.id) : undefined;
    // The snapshotter of a container never changes.
    if (before) await this.#options.settled?.(namespace, ContainerType.decode(before).snapshotter, given.snapshotKey);
    const updated = await this.#database.commit(() => {
      const record = this.#find(namespace, given.id);
      if (record === undefined) throw this.#missing("update", namespace, given.id, quote(given.id));
      const old = ContainerType.decode(record);
      const changed = { ...apply(fieldsOf(old), given, paths), updatedAt: timestampOf(nowMicros()) };
      validate(changed, "update failed validation: ");
      changed.labels = withoutEmpty(changed.labels);
      // containerd adds extensions to those that are there, and takes neither them nor the specification away.
      const extensions = { ...old.extensions, ...changed.extensions };
      this.#write(namespace, { ...changed, extensions, spec: changed.spec ?? old.spec ?? null });
      return changed;
    });
    const { id, image, labels, snapshotKey } = updated;
    this.#publish(namespace, "update", ContainerUpdate.encode({ id, image, labels, snapshotKey }).finish());
    return updated;
  }

  /** @throws ContainerdError NotFound */
  async delete(namespace: string, id: string): Promise<void> {
    await this.#database.commit(() => {
      if (this.#database.run("DELETE FROM containers WHERE namespace = ? AND id = ?", namespace, id) === 0) {
        throw this.#missing("delete", namespace, id, id);
      }
    });
    this.#options.collector.schedule();
    this.#publish(namespace, "delete", ContainerDelete.encode({ id }).finish());
  }

  #find(namespace: string, id: string): Uint8Array | undefined {
    return this.#database.get<{ record: Uint8Array }>(
      "SELECT record FROM containers WHERE namespace = ? AND id = ?",
      namespace,
      id,
    )?.record;
  }

  /** containerd says it in another way where a namespace never had a container. */
  #missing(verb: string, namespace: string, id: string, name: string): Error {
    return this.#options.namespaces.had(namespace, kinds.containers)
      ? notFound(`container ${name}: not found`)
      : notFound(`cannot ${verb} container ${quote(id)} in namespace ${quote(namespace)}: not found`);
  }

  #write(namespace: string, container: Fields): void {
    this.#database.run(
      `INSERT INTO containers (namespace, id, snapshotter, snapshot_key, image, runtime, sandbox, labels, record)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET snapshotter = ?3, snapshot_key = ?4,
       image = ?5, runtime = ?6, sandbox = ?7, labels = ?8, record = ?9`,
      namespace,
      container.id,
      container.snapshotter,
      container.snapshotKey,
      container.image,
      container.runtime.name ?? "",
      container.sandbox,
      encodeLabels(container.labels),
      ContainerType.encode(container).finish(),
    );
  }

  #publish(namespace: string, verb: "create" | "update" | "delete", value: Uint8Array): void {
    const name = { create: "ContainerCreate", update: "ContainerUpdate", delete: "ContainerDelete" }[verb];
    this.#options.publisher.publish(namespace, `/containers/${verb}`, { name: `containerd.events.${name}`, value });
  }
}

type Fields = ReturnType<typeof fieldsOf>;

/** The fields of a container, none missing: a decoded message only inherits those that were not sent. */
function fieldsOf(container: NewContainer) {
  return {
    id: container.id ?? "",
    labels: withoutEmpty(container.labels),
    image: container.image ?? "",
    runtime: container.runtime ?? {},
    spec: container.spec ?? null,
    snapshotter: container.snapshotter ?? "",
    snapshotKey: container.snapshotKey ?? "",
    createdAt: container.createdAt ?? null,
    updatedAt: container.updatedAt ?? null,
    extensions: { ...container.extensions },
    sandbox: container.sandbox ?? "",
  };
}

function apply(old: Fields, given: Fields, paths: readonly string[]): Fields {
  if (paths.length === 0) {
    if (old.snapshotter !== given.snapshotter) {
      throw invalidArgument("container.Snapshotter field is immutable: invalid argument");
    }
    if ((old.runtime.name ?? "") !== (given.runtime.name ?? "")) {
      throw invalidArgument("container.Runtime.Name field is immutable: invalid argument");
    }
  }
  const updated = { ...old };
  for (const path of paths.length === 0 ? mutable : paths) {
    const described = describedBy(path, updated, given);
    if (described !== undefined) Object.assign(updated, described);
    else if (path === "image") updated.image = given.image;
    else if (path === "snapshotkey") updated.snapshotKey = given.snapshotKey;
    else throw invalidArgument(`cannot update ${quote(path)} field on ${quote(given.id)}: invalid argument`);
  }
  return updated;
}

function validate(container: NewContainer, before: string): void {
  validateIdentifier(container.id ?? "", `${before}container.ID: `);
  if (Object.hasOwn(container.extensions ?? {}, "")) {
    throw invalidArgument(`${before}container.Extension keys must not be zero-length: invalid argument`);
  }
  checkLabels(container.labels ?? {}, `${before}containers.Labels: `);
  if (!container.runtime?.name) throw invalidArgument(`${before}container.Runtime.Name must be set: invalid argument`);
  if (container.snapshotKey && !container.snapshotter) {
    throw invalidArgument(
      `${before}container.Snapshotter must be set if container.SnapshotKey is set: invalid argument`,
    );
  }
}

function lookupOf(row: Row): FieldLookup {
  let labels: Readonly<Record<string, string>> | undefined;
  return ([first = "", ...rest]) => {
    if (first === "labels") {
      labels ??= decodeLabels(row.labels);
      return labelOf(labels, rest);
    }
    if (first === "runtime") return rest[0] === "name" ? row.runtime || undefined : undefined;
    if (first === "id") return row.id || undefined;
    return first === "image" ? row.image || undefined : undefined;
  };
}

/** Leases: what keeps resources from collection while a client works with them (core/metadata/leases.go). */

import { alreadyExists, invalidArgument, notFound, notImplemented, unknown } from "../../proto/errdefs.ts";
import type { Database } from "./database.ts";
import { digestProblem } from "./digest.ts";
import { withoutEmpty } from "./fieldpath.ts";
import { labelOf, parseFilters } from "./filter.ts";
import { decodeLabels, encodeLabels, type Labels } from "./labels.ts";
import { quote } from "./quote.ts";
import { nowMicros } from "./time.ts";

/** A lease. */
export interface Lease {
  readonly id: string;
  /** Microseconds since 1970. */
  readonly createdAt: number;
  readonly labels: Labels;
}

/** What a lease may hold. type: content, ingests, images, or snapshots/NAME OF THE SNAPSHOTTER. */
export interface Resource {
  readonly type: string;
  /** A digest, a ref, a name, or a key. */
  readonly id: string;
}

/** What leases need beside themselves. */
export interface LeasesOptions {
  readonly database: Database;
  readonly namespaces: { require(namespace: string): void };
  readonly collector: { schedule(): void };
  /** Resolves when a snapshot survives a power cut: a lease is not told to have it before. */
  readonly settled?: (namespace: string, snapshotter: string, key: string) => Promise<void>;
}

/** The leases of one daemon. */
export class Leases {
  readonly #options: LeasesOptions;
  readonly #database: Database;

  constructor(options: LeasesOptions) {
    this.#options = options;
    this.#database = options.database;
  }

  /**
   * Lets a lease hold a resource, inside the caller's transaction; nothing happens without a lease.
   * @throws ContainerdError NotFound when there is no such lease
   */
  hold(namespace: string, lease: string | undefined, resource: Resource): void {
    if (lease === undefined) return;
    if (!this.#has(namespace, lease)) throw notFound("lease does not exist: not found");
    this.#add(namespace, lease, resource);
  }

  /** Takes a resource that is gone out of a lease, inside the caller's transaction. */
  release(namespace: string, lease: string | undefined, resource: Resource): void {
    if (lease === undefined) return;
    this.#remove(namespace, lease, resource);
  }

  /**
   * Makes a lease; its namespace is made when it is not there.
   * @param id a random one is made for an empty one
   * @throws ContainerdError AlreadyExists
   */
  async create(namespace: string, id: string, labels: Labels): Promise<Lease> {
    const lease = { id: id || randomId(), createdAt: nowMicros(), labels: withoutEmpty(labels) };
    await this.#database.commit(() => {
      this.#options.namespaces.require(namespace);
      const made = this.#database.run(
        "INSERT OR IGNORE INTO leases (namespace, id, created_at, labels) VALUES (?, ?, ?, ?)",
        namespace,
        lease.id,
        lease.createdAt,
        encodeLabels(lease.labels),
      );
      if (made === 0) throw alreadyExists(`lease ${quote(lease.id)}: already exists`);
    });
    return lease;
  }

  /** Gives a lease other labels. @returns false when there is no such lease */
  relabel(namespace: string, id: string, labels: Labels): Promise<boolean> {
    return this.#database.commit(
      () =>
        this.#database.run(
          "UPDATE leases SET labels = ? WHERE namespace = ? AND id = ?",
          encodeLabels(withoutEmpty(labels)),
          namespace,
          id,
        ) > 0,
    );
  }

  /** @throws ContainerdError NotFound */
  async delete(namespace: string, id: string): Promise<void> {
    await this.#database.commit(() => {
      if (this.#database.run("DELETE FROM leases WHERE namespace = ? AND id = ?", namespace, id) === 0) {
        throw missing(id);
      }
    });
    this.#options.collector.schedule();
  }

  /**
   * The leases that one of the filters lets through, by id.
   * @throws ContainerdError InvalidArgument for a wrong filter
   */
  list(namespace: string, filters: readonly string[]): Lease[] {
    const filter = parseFilters(filters);
    return this.#database
      .all<{ id: string; created_at: number; labels: string }>(
        "SELECT id, created_at, labels FROM leases WHERE namespace = ? ORDER BY id",
        namespace,
      )
      .map((row) => ({ id: row.id, createdAt: row.created_at, labels: decodeLabels(row.labels) }))
      .filter(({ id, labels }) =>
        filter(([first, ...rest]) => {
          if (first === "labels") return labelOf(labels, rest);
          return first === "id" ? id || undefined : undefined;
        }),
      );
  }

  /** @throws ContainerdError NotFound for the lease; InvalidArgument or Unimplemented for the resource */
  async addResource(namespace: string, lease: string, resource: Resource): Promise<void> {
    const [kind, snapshotter = ""] = resource.type.split("/");
    if (kind === "snapshots") await this.#options.settled?.(namespace, snapshotter, resource.id);
    await this.#database.commit(() => {
      this.#check(namespace, lease, resource);
      this.#add(namespace, lease, resource);
    });
  }

  /** @throws ContainerdError NotFound for the lease; InvalidArgument or Unimplemented for the resource */
  async deleteResource(namespace: string, lease: string, resource: Resource): Promise<void> {
    await this.#database.commit(() => {
      this.#check(namespace, lease, resource);
      this.#remove(namespace, lease, resource);
    });
    this.#options.collector.schedule();
  }

  /** What a lease holds, by type. @throws ContainerdError NotFound */
  resources(namespace: string, lease: string): Resource[] {
    if (!this.#has(namespace, lease)) throw missing(lease);
    return this.#database.all<Resource>(
      `SELECT type, id FROM lease_resources WHERE namespace = ? AND lease = ?
       ORDER BY CASE type WHEN 'content' THEN 0 WHEN 'images' THEN 1 WHEN 'ingests' THEN 2 ELSE 3 END, type, id`,
      namespace,
      lease,
    );
  }

  #has(namespace: string, id: string): boolean {
    return this.#database.get("SELECT 1 FROM leases WHERE namespace = ? AND id = ?", namespace, id) !== undefined;
  }

  #check(namespace: string, lease: string, resource: Resource): void {
    if (!this.#has(namespace, lease)) throw missing(lease);
    checkResource(resource);
  }

  #add(namespace: string, lease: string, { type, id }: Resource): void {
    this.#database.run(
      "INSERT OR IGNORE INTO lease_resources (namespace, lease, type, id) VALUES (?, ?, ?, ?)",
      namespace,
      lease,
      type,
      id,
    );
  }

  #remove(namespace: string, lease: string, { type, id }: Resource): void {
    this.#database.run(
      "DELETE FROM lease_resources WHERE namespace = ? AND lease = ? AND type = ? AND id = ?",
      namespace,
      lease,
      type,
      id,
    );
  }
}

function missing(id: string): Error {
  return notFound(`lease ${quote(id)}: not found`);
}

function checkResource({ type, id }: Resource): void {
  checkType(type, id);
  // What containerd's own database says of an empty name.
  if (id === "") throw unknown("key required");
  if (type === "snapshots/") throw unknown("bucket name required");
}

function checkType(type: string, id: string): void {
  const [kind = "", ...rest] = type.split("/");
  switch (kind) {
    case "content":
    case "ingests":
    case "images": {
      if (rest.length > 0) throw invalidArgument(`invalid resource type ${type}: invalid argument`);
      const problem = kind === "content" ? digestProblem(id) : undefined;
      if (problem !== undefined) {
        throw invalidArgument(`invalid content resource id ${id}: ${problem}: invalid argument`);
      }
      return;
    }
    case "snapshots":
      if (rest.length !== 1) throw invalidArgument(`invalid snapshot resource type ${type}: invalid argument`);
      return;
    default:
      throw notImplemented(`resource type ${type} not supported yet: not implemented`);
  }
}

/** The nanoseconds of the present second, and three random bytes: what containerd's clients expect to read. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(3));
  return `${(nowMicros() % 1e6) * 1000}-${Buffer.from(bytes).toString("base64url")}`;
}

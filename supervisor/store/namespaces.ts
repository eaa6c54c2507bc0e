/** Namespaces: tenants, of which each has its own of every other resource (core/metadata/namespaces.go). */

import {
  alreadyExists,
  failedPrecondition,
  invalidArgument,
  messageOf,
  notFound,
  unknown,
} from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import type { Publisher } from "../event/publisher.ts";
import type { Database } from "./database.ts";
import { entryOf } from "./fieldpath.ts";
import { validateIdentifier } from "./identifier.ts";
import { checkLabels, decodeLabels, encodeLabels, type Labels } from "./labels.ts";
import { quote } from "./quote.ts";

/** A namespace by name. */
export interface Namespace {
  readonly name: string;
  readonly labels: Labels;
}

/** Bits of what a namespace has had. */
export const kinds = { containers: 1, sandboxes: 2 } as const;
export type Kind = (typeof kinds)[keyof typeof kinds];

/** What rooms need of the namespaces. */
export type NamespaceKeeper = Pick<Namespaces, "require" | "had">;

const { NamespaceCreate, NamespaceDelete, NamespaceUpdate } = containerd.events;

/** The namespaces of one daemon. */
export class Namespaces {
  readonly #database: Database;
  readonly #publisher: Publisher;

  constructor(database: Database, publisher: Publisher) {
    this.#database = database;
    this.#publisher = publisher;
  }

  /**
   * Makes sure that a namespace is there, inside the caller's transaction: whoever puts something into it calls this.
   * @param kind what is put, where {@link had} is to know it
   */
  require(namespace: string, kind: Kind | 0 = 0): void {
    this.#database.run(
      `INSERT INTO namespaces (name, labels, kinds) VALUES (?1, '{}', ?2)
       ON CONFLICT DO UPDATE SET kinds = kinds | ?2 WHERE kinds & ?2 != ?2`,
      namespace,
      kind,
    );
  }

  /** Whether there has ever been such a thing: containerd answers in other words where there has not. */
  had(namespace: string, kind: Kind): boolean {
    const row = this.#database.get<{ kinds: number }>("SELECT kinds FROM namespaces WHERE name = ?", namespace);
    return ((row?.kinds ?? 0) & kind) !== 0;
  }

  /** Labels of a namespace; none for one that is not there, as containerd answers. */
  labels(name: string): Labels {
    const row = this.#database.get<{ labels: string }>("SELECT labels FROM namespaces WHERE name = ?", name);
    return row === undefined ? {} : decodeLabels(row.labels);
  }

  /** All namespaces by name. */
  list(): Namespace[] {
    return this.#database
      .all<{ name: string; labels: string }>("SELECT name, labels FROM namespaces ORDER BY name")
      .map(({ name, labels }) => ({ name, labels: decodeLabels(labels) }));
  }

  /** @throws ContainerdError InvalidArgument, AlreadyExists */
  async create(name: string, labels: Labels): Promise<void> {
    validateIdentifier(name);
    checkLabels(labels, "namespace.Labels: ");
    await this.#database.commit(() => {
      const made = this.#database.run(
        "INSERT OR IGNORE INTO namespaces (name, labels) VALUES (?, ?)",
        name,
        encodeLabels(labels),
      );
      if (made === 0) throw alreadyExists(`namespace ${quote(name)}: already exists`);
    });
    this.#publish(name, "create", NamespaceCreate.encode({ name, labels: { ...labels } }).finish());
  }

  /**
   * Replaces the labels that `paths` name (`labels.KEY`), or without paths all of them. A namespace that is not there is
   * made, as containerd makes it, but never one whose name could not be a part of a path.
   * @throws ContainerdError InvalidArgument for another path, Unknown for a wrong label or name
   */
  async update(name: string, labels: Labels, paths: readonly string[]): Promise<void> {
    // The codes of these two are those of containerd, which lost its own on the way.
    recode(() => validateIdentifier(name, "failed publishing event: namespace validation: "));
    await this.#database.commit(() => {
      const updated: Record<string, string> = paths.length === 0 ? { ...labels } : { ...this.labels(name) };
      for (const path of paths) {
        const key = entryOf(path, "labels.");
        if (key === undefined) throw invalidArgument(`cannot update ${quote(path)} field`);
        updated[key] = Object.hasOwn(labels, key) ? (labels[key] ?? "") : "";
      }
      recode(() => checkLabels(updated, "namespace.Labels: "));
      this.#database.run(
        "INSERT INTO namespaces (name, labels) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET labels = ?2",
        name,
        encodeLabels(updated),
      );
    });
    this.#publish(name, "update", NamespaceUpdate.encode({ name, labels: { ...labels } }).finish());
  }

  /**
   * Removes an empty namespace with its leases, ingests and sandboxes. Its activations end by themselves: they are more
   * than rows.
   * @throws ContainerdError FailedPrecondition while it is not empty, NotFound
   */
  async delete(name: string): Promise<void> {
    await this.#database.commit(() => {
      const left = this.#contents(name);
      if (left.length > 0) {
        throw failedPrecondition(
          `namespace ${quote(name)} must be empty, but it still has ${left.join(", ")}: failed precondition`,
        );
      }
      if (this.#database.run("DELETE FROM namespaces WHERE name = ?", name) === 0) {
        throw notFound(`namespace ${quote(name)}: not found`);
      }
      for (const table of ["leases", "ingests", "sandboxes"]) {
        this.#database.run(`DELETE FROM ${table} WHERE namespace = ?`, name);
      }
    });
    this.#publish(name, "delete", NamespaceDelete.encode({ name }).finish());
  }

  /** Kinds of things that a namespace still has, in the order in which containerd names them. */
  #contents(name: string): string[] {
    const has = (table: string): boolean =>
      this.#database.get(`SELECT 1 FROM ${table} WHERE namespace = ? LIMIT 1`, name) !== undefined;
    const snapshotters = this.#database.all<{ snapshotter: string }>(
      "SELECT DISTINCT snapshotter FROM snapshots WHERE namespace = ? ORDER BY snapshotter",
      name,
    );
    return [
      ...["images", "blobs", "containers"].filter(has),
      ...snapshotters.map(({ snapshotter }) => `snapshots on ${quote(snapshotter)} snapshotter`),
    ];
  }

  #publish(namespace: string, verb: string, value: Uint8Array): void {
    const name = `containerd.events.Namespace${verb[0]?.toUpperCase()}${verb.slice(1)}`;
    this.#publisher.publish(namespace, `/namespaces/${verb}`, { name, value });
  }
}

/** Runs a check whose error the client gets with the code Unknown. */
function recode(check: () => void): void {
  try {
    check();
  } catch (error) {
    throw unknown(messageOf(error), error);
  }
}

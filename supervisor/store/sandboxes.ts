/** Sandboxes: what is kept of groups of containers (core/metadata/sandbox.go). */

import { alreadyExists, invalidArgument, notFound } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import type { Database } from "./database.ts";
import { describedBy, withoutEmpty } from "./fieldpath.ts";
import { labelOf, parseFilters } from "./filter.ts";
import { validateIdentifier } from "./identifier.ts";
import { kinds, type NamespaceKeeper } from "./namespaces.ts";
import { quote } from "./quote.ts";
import { nowMicros, timestampOf } from "./time.ts";

const { Sandbox: SandboxType } = containerd.types;

/** A sandbox as clients give it. */
export type NewSandbox = containerd.types.Sandbox.$Properties;
/** A sandbox as it is kept. */
export type Sandbox = ReturnType<typeof SandboxType.decode>;

/** What sandboxes need beside themselves. */
export interface SandboxesOptions {
  readonly database: Database;
  readonly namespaces: NamespaceKeeper;
}

/** What an update without field paths replaces. */
const mutable = ["labels", "extensions", "spec", "runtime"];

/** The sandboxes of one daemon. */
export class Sandboxes {
  readonly #options: SandboxesOptions;
  readonly #database: Database;

  constructor(options: SandboxesOptions) {
    this.#options = options;
    this.#database = options.database;
  }

  /** @throws ContainerdError NotFound */
  get(namespace: string, id: string): Sandbox {
    const row = this.#database.get<{ record: Uint8Array }>(
      "SELECT record FROM sandboxes WHERE namespace = ? AND id = ?",
      namespace,
      id,
    );
    if (row === undefined) {
      throw this.#isEmpty(namespace) ? none() : notFound(`bucket ${quote(id)} not found: not found`);
    }
    return SandboxType.decode(row.record);
  }

  /**
   * The sandboxes that one of the filters lets through, by id.
   * @throws ContainerdError InvalidArgument for a wrong filter
   */
  list(namespace: string, filters: readonly string[]): Sandbox[] {
    const filter = parseFilters(filters);
    return this.#database
      .all<{ record: Uint8Array }>("SELECT record FROM sandboxes WHERE namespace = ? ORDER BY id", namespace)
      .map(({ record }) => SandboxType.decode(record))
      .filter(({ sandboxId, labels }) =>
        filter(([first, ...rest]) => {
          if (first === "labels") return labelOf(labels, rest);
          return first === "id" ? sandboxId : undefined;
        }),
      );
  }

  /** @throws ContainerdError InvalidArgument, AlreadyExists */
  async create(namespace: string, sandbox: NewSandbox): Promise<NewSandbox> {
    const at = timestampOf(nowMicros());
    const created = { ...fieldsOf(sandbox), createdAt: at, updatedAt: at };
    validateIdentifier(created.sandboxId, "failed to validate sandbox: invalid sandbox ID: ");
    await this.#database.commit(() => {
      this.#options.namespaces.require(namespace, kinds.sandboxes);
      const made = this.#database.run(
        "INSERT OR IGNORE INTO sandboxes (namespace, id, record) VALUES (?, ?, ?)",
        namespace,
        created.sandboxId,
        SandboxType.encode(created).finish(),
      );
      if (made === 0) {
        throw alreadyExists(`write error: sandbox bucket ${quote(created.sandboxId)} already exists: already exists`);
      }
    });
    return created;
  }

  /** @throws ContainerdError InvalidArgument, NotFound */
  async update(namespace: string, sandbox: NewSandbox, paths: readonly string[]): Promise<NewSandbox> {
    const given = fieldsOf(sandbox);
    return this.#database.commit(() => {
      const old = fieldsOf(this.get(namespace, given.sandboxId));
      const updated = { ...apply(old, given, paths), updatedAt: timestampOf(nowMicros()) };
      updated.labels = withoutEmpty(updated.labels);
      // containerd adds extensions to those that are there, and does not take a spec or options away.
      const kept = {
        ...updated,
        extensions: { ...old.extensions, ...updated.extensions },
        spec: updated.spec ?? old.spec,
        runtime: { name: updated.runtime.name ?? "", options: updated.runtime.options ?? old.runtime.options ?? null },
      };
      this.#database.run(
        "UPDATE sandboxes SET record = ? WHERE namespace = ? AND id = ?",
        SandboxType.encode(kept).finish(),
        namespace,
        given.sandboxId,
      );
      return updated;
    });
  }

  /** @throws ContainerdError NotFound */
  async delete(namespace: string, id: string): Promise<void> {
    await this.#database.commit(() => {
      if (this.#database.run("DELETE FROM sandboxes WHERE namespace = ? AND id = ?", namespace, id) > 0) return;
      throw this.#isEmpty(namespace) ? none() : notFound(`failed to delete sandbox ${quote(id)}: not found`);
    });
  }

  /** containerd says it in another way where a namespace never had a sandbox. */
  #isEmpty(namespace: string): boolean {
    return !this.#options.namespaces.had(namespace, kinds.sandboxes);
  }
}

type Fields = ReturnType<typeof fieldsOf>;

function none(): Error {
  return notFound("no sandbox buckets: not found");
}

/** The fields of a sandbox, none missing. */
function fieldsOf(sandbox: NewSandbox) {
  return {
    sandboxId: sandbox.sandboxId ?? "",
    runtime: sandbox.runtime ?? {},
    spec: sandbox.spec ?? null,
    labels: withoutEmpty(sandbox.labels),
    createdAt: sandbox.createdAt ?? null,
    updatedAt: sandbox.updatedAt ?? null,
    extensions: { ...sandbox.extensions },
    sandboxer: sandbox.sandboxer ?? "",
  };
}

function apply(old: Fields, given: Fields, paths: readonly string[]): Fields {
  if (paths.length === 0 && (old.runtime.name ?? "") !== (given.runtime.name ?? "")) {
    throw invalidArgument("sandbox.Runtime.Name field is immutable: invalid argument");
  }
  const updated = { ...old };
  for (const path of paths.length === 0 ? mutable : paths) {
    const described = describedBy(path, updated, given);
    if (described !== undefined) Object.assign(updated, described);
    else if (path === "runtime") updated.runtime = given.runtime;
    else {
      throw invalidArgument(
        `cannot update ${quote(path)} field on sandbox ${quote(given.sandboxId)}: invalid argument`,
      );
    }
  }
  return updated;
}
